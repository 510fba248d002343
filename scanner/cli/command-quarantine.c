/* SPDX-License-Identifier: GPL-2.0-only */
/* postern quarantine, and its list and show */
#include "cli.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "ask.h"
#include "entries.h"
#include "quarantine-commands.h"
#include "terminal.h"
#include "text.h"

#define ANSWER_MS 30000
#define KEY_SHOWN 12

static char *
recipients_text(const json_t *row)
{
    const json_t *all = json_object_get(row, "recipients");
    gint64 more = ask_number(row, "recipient_count") - 1;
    const char *first = json_string_value(json_array_get(all, 0));
    g_autofree char *safe = text_escape(first, 40);
    return more > 0 ? g_strdup_printf("%s +%" G_GINT64_FORMAT, safe, more) : g_strdup(safe);
}

static void
row_add(struct table *table, const json_t *row)
{
    char **cells = g_new0(char *, 10);
    g_autofree char *key = text_escape(ask_text(row, "key"), 64);
    cells[0] = g_strndup(key, KEY_SHOWN);
    cells[1] = terminal_time(ask_number(row, "time"));
    cells[2] = json_is_true(json_object_get(row, "missing"))
                   ? g_strdup("FILE MISSING")
                   : text_escape(ask_text(row, "verdict"), 20);
    cells[3] = text_escape(ask_text(row, "reason"), 40);
    cells[4] = g_strdup_printf("%" G_GINT64_FORMAT, ask_number(row, "attempts"));
    cells[5] = text_escape(ask_text(row, "sender"), 40);
    if (*cells[5] == '\0') {
        g_free(cells[5]);
        cells[5] = g_strdup("<>");
    }
    cells[6] = recipients_text(row);
    cells[7] = text_escape(ask_text(row, "subject"), 40);
    cells[8] = text_escape(ask_text(row, "state"), 20);
    table_add(table, cells);
}

/* A table for so many rows at most: memory has an end, and so has the width of a column. */
#define TABLE_ROWS 1000

struct listing {
    gboolean json;
    struct json_stream stream;
    struct table *table; /* NULL = none is begun */
    guint rows;          /* in it */
    guint all;
};

static void
table_end(struct listing *l)
{
    if (l->table != NULL) {
        table_print(g_steal_pointer(&l->table), stdout);
        l->rows = 0;
    }
}

static void
row_print(const json_t *row, void *data)
{
    static const char *const titles[] = {"KEY",  "TIME", "VERDICT", "REASON", "ATTEMPTS",
                                         "FROM", "TO",   "SUBJECT", "STATE",  NULL};
    struct listing *l = data;
    l->all++;
    if (l->json) {
        json_stream_add(&l->stream, row);
        return;
    }
    if (l->table == NULL) {
        l->table = table_new(titles);
    }
    row_add(l->table, row);
    if (++l->rows == TABLE_ROWS) {
        table_end(l);
    }
}

static void
listing_end(struct listing *l, gint64 next, gboolean chosen)
{
    table_end(l);
    if (l->json) {
        json_stream_end(&l->stream);
    } else if (l->all == 0) {
        puts(chosen ? "Nothing of that kind is in the quarantine." : "The quarantine is empty.");
    } else if (next > 0) {
        printf("There is more: --before %" G_GINT64_FORMAT ", or --limit 0 for all.\n", next);
    }
}

static int
list_run(struct cli *cli, const struct entries *entries, gint64 before, gint64 limit)
{
    struct ask ask;
    g_autofree char *error = NULL;
    struct listing l = {.json = cli->json};
    gint64 next = 0;
    if (before < 0 || limit < 0) {
        return cli_fail("--before and --limit are not negative");
    }
    json_t *request = entries_request(entries, before, limit, &error);
    if (request == NULL) {
        return cli_fail("%s", error);
    }
    if (!entries_connect(cli, &ask)) {
        json_decref(request);
        return CLI_ERROR;
    }
    int rc = entries_walk(&ask, request, row_print, &l, &next, &error);
    ask_close(&ask);
    if (rc < 0) {
        table_end(&l);
        return cli_fail("%s", error);
    }
    listing_end(&l, next, before > 0 || !entries_is_empty(entries));
    return CLI_OK;
}

static int
list(struct cli *cli, int argc, char **argv)
{
    struct entries entries = {0};
    gint64 before = 0;
    gint64 limit = -1;
    int rc = CLI_ERROR;
    const GOptionEntry more[] = {
        {"limit", 'n', 0, G_OPTION_ARG_INT64, &limit,
         "At most so many; 0: all (default: 1000, with --json all)", "N"},
        {"before", 0, 0, G_OPTION_ARG_INT64, &before, "Go on where a list ended", "ROW"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autofree GOptionEntry *options = entries_options(&entries, more);
    if (cli_options(cli, options, "", "Lists what was kept, newest first.", &argc, &argv)) {
        gint64 usual = cli->json ? 0 : TABLE_ROWS;
        rc = list_run(cli, &entries, before, limit == -1 ? usual : limit);
    }
    entries_clear(&entries);
    return rc;
}

static void
field_print(const char *label, const char *text)
{
    if (text != NULL) {
        g_autofree char *safe = text_escape(text, 1000);
        printf("%-12s %s\n", label, safe);
    }
}

static void
parts_print(const json_t *parts)
{
    static const char *const titles[] = {"PART", "TYPE", "SIZE", "FILE", NULL};
    size_t i;
    const json_t *part;
    if (json_array_size(parts) == 0) {
        return;
    }
    struct table *table = table_new(titles);
    json_array_foreach((json_t *)(uintptr_t)parts, i, part)
    {
        char **cells = g_new0(char *, 5);
        cells[0] = text_escape(ask_text(part, "path"), 40);
        cells[1] = text_escape(ask_text(part, "type"), 60);
        cells[2] = terminal_size((guint64)ask_number(part, "size"));
        cells[3] = text_escape(ask_text(part, "filename"), 80);
        table_add(table, cells);
    }
    putchar('\n');
    table_print(table, stdout);
}

static void
release_print(const json_t *meta)
{
    const json_t *recipient;
    size_t i;
    gint64 released = ask_number(meta, "released");
    g_autofree char *time = terminal_time(released);
    field_print("State", ask_text(meta, "state"));
    if (released > 0) {
        field_print("Released", time);
    }
    field_print("MTA's answer", ask_text(meta, "release_answer"));
    json_array_foreach(json_object_get(meta, "release_to"), i, recipient)
    {
        field_print(i == 0 ? "Released to" : "", json_string_value(recipient));
    }
}

static void
meta_print(const json_t *meta)
{
    static const struct {
        const char *label;
        const char *name;
    } fields[] = {
        {"Sender", "sender"},   {"Client", "client_name"},    {"Address", "client_addr"},
        {"HELO", "helo"},       {"SASL user", "auth_user"},   {"Queue id", "queue_id"},
        {"Subject", "subject"}, {"Message-Id", "message_id"},
    };
    const json_t *envelope = json_object_get(meta, "envelope");
    const json_t *recipient;
    size_t i;
    g_autofree char *time = terminal_time(ask_number(meta, "time"));
    g_autofree char *size = terminal_size((guint64)ask_number(meta, "size"));
    field_print("Key", ask_text(meta, "key"));
    field_print("Verdict", ask_text(meta, "verdict"));
    field_print("Reason", ask_text(meta, "reason"));
    printf("%-12s %s, %" G_GINT64_FORMAT " attempt(s) at delivery\n", "Kept", time,
           ask_number(meta, "attempts"));
    field_print("Size", size);
    for (i = 0; i < G_N_ELEMENTS(fields); i++) {
        field_print(fields[i].label, ask_text(envelope, fields[i].name));
    }
    json_array_foreach(json_object_get(envelope, "recipients"), i, recipient)
    {
        field_print(i == 0 ? "Recipients" : "", json_string_value(recipient));
    }
    release_print(meta);
    parts_print(json_object_get(json_object_get(meta, "facts"), "parts"));
}

/* Leaves FD's file position behind the first line, which is ours. Returns FALSE without one. */
static gboolean
first_line_skip(FILE *file)
{
    int c;
    while ((c = getc(file)) != EOF) {
        if (c == '\n') {
            return TRUE;
        }
    }
    return FALSE;
}

static int
raw_print(FILE *file)
{
    char buffer[16384];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) {
        if (fwrite(buffer, 1, n, stdout) != n) {
            return cli_fail("the output could not be written");
        }
    }
    return ferror(file) ? cli_fail("the kept file cannot be read") : CLI_OK;
}

static int
headers_print(FILE *file)
{
    char *text = NULL;
    size_t room = 0;
    while (getline(&text, &room, file) > 0) {
        text[strcspn(text, "\r\n")] = '\0';
        if (*text == '\0') {
            break;
        }
        g_strdelimit(text, "\t", ' ');
        g_autofree char *safe = text_escape(text, 4000);
        puts(safe);
    }
    free(text);
    return ferror(file) ? cli_fail("the kept file cannot be read") : CLI_OK;
}

static int
file_print(int fd, int (*print)(FILE *))
{
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        close(fd);
        return cli_fail("the kept file cannot be read: %s", g_strerror(errno));
    }
    int rc = first_line_skip(file) ? print(file) : cli_fail("the kept file is damaged");
    fclose(file);
    return rc;
}

json_t *
quarantine_ask(struct cli *cli, const char *key, int *ret_fd)
{
    struct ask ask;
    json_t *answer = NULL;
    g_autofree char *error = NULL;
    if (!entries_connect(cli, &ask)) {
        return NULL;
    }
    json_t *request = json_pack("{s:s, s:s, s:b}", "op", "quarantine-show", "key", key, "content",
                                ret_fd != NULL);
    if (request == NULL) {
        cli_fail("that is no key");
    } else if (ask_call(&ask, request, -1, ANSWER_MS, &answer, ret_fd, &error) < 0) {
        cli_fail("%s", error);
    }
    json_decref(request);
    ask_close(&ask);
    return answer;
}

static void
entry_print(const struct cli *cli, const json_t *answer)
{
    const json_t *meta = json_object_get(answer, "meta");
    if (cli->json) {
        json_dumpf(meta, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    meta_print(meta);
    if (json_object_get(answer, "left_out") != NULL) {
        puts("\n(This is shortened: the first line of the kept file has it all.)");
    }
}

static int
show(struct cli *cli, int argc, char **argv)
{
    gboolean raw = FALSE;
    gboolean headers = FALSE;
    int fd = -1;
    int rc = CLI_OK;
    const GOptionEntry entries[] = {
        {"raw", 0, 0, G_OPTION_ARG_NONE, &raw, "Write the original message", NULL},
        {"headers", 0, 0, G_OPTION_ARG_NONE, &headers, "Print the message's header", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "KEY", "Shows one entry; KEY may be shortened.", &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc != 2) {
        return cli_fail("quarantine show needs one key; `postern quarantine list` has them");
    }
    if (raw && isatty(STDOUT_FILENO)) {
        return cli_fail("the message may harm a terminal; write it to a file: ... > FILE");
    }
    json_t *answer = quarantine_ask(cli, argv[1], raw || headers ? &fd : NULL);
    if (answer == NULL) {
        return CLI_ERROR;
    }
    if (!raw && !headers) {
        entry_print(cli, answer);
    } else if (fd >= 0) {
        rc = file_print(fd, raw ? raw_print : headers_print);
        fd = -1;
    } else {
        rc = cli_fail("posternd did not hand out the file");
    }
    if (fd >= 0) {
        close(fd);
    }
    json_decref(answer);
    return rc;
}

int
cli_quarantine(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"list", "List what was kept", list},
        {"show", "Show one entry", show},
        {"export", "Write kept messages to files", cli_quarantine_export},
        {"release", "Deliver kept messages after all", cli_quarantine_release},
        {"delete", "Delete kept messages", cli_quarantine_delete},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}

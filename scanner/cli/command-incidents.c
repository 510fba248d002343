/* SPDX-License-Identifier: GPL-2.0-only */
/* postern incidents */
#include "cli.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <jansson.h>

#include "ask.h"
#include "entries.h"
#include "terminal.h"
#include "text.h"

#define USUAL_LIMIT 100
#define FOLLOW_SECONDS 2
#define FOLLOW_BATCH 1000
#define KEY_SHOWN 12

struct incidents {
    struct cli *cli;
    char *since;
    char *kind;
    char *key;
    gint64 limit;
    gboolean follow;
    struct json_stream stream;
    struct table *table;
    GPtrArray *fresh; /* of json_t *, newest first; with --follow */
    gint64 last;      /* newest row that was shown */
};

/* Names are looked up here, not in posternd: a directory service may be slow. */
static char *
user_of(const json_t *row)
{
    const json_t *uid = json_object_get(row, "uid");
    if (!json_is_integer(uid)) {
        return g_strdup("-");
    }
    const struct passwd *user = getpwuid((uid_t)json_integer_value(uid));
    return user != NULL ? text_escape(user->pw_name, 32)
                        : g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(uid));
}

static void
row_cells(const json_t *row, char *cells[8])
{
    const char *key = ask_text(row, "key");
    const char *sender = ask_text(row, "sender");
    g_autofree char *safe = text_escape(key == NULL ? ask_text(row, "queue_id") : key, 64);
    cells[0] = terminal_time(ask_number(row, "time"));
    cells[1] = text_escape(ask_text(row, "kind"), 20);
    cells[2] = user_of(row);
    cells[3] = g_strndup(safe, KEY_SHOWN);
    cells[4] = sender != NULL && *sender == '\0' ? g_strdup("<>") : text_escape(sender, 40);
    cells[5] = text_escape(ask_text(row, "client"), 40);
    cells[6] = text_escape(ask_text(row, "detail"), 200);
}

static json_t *
row_with_user(const json_t *row)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)row);
    g_autofree char *user = user_of(row);
    json_object_set_new(copy, "user",
                        json_is_integer(json_object_get(row, "uid")) ? json_string(user)
                                                                     : json_null());
    return copy;
}

static void
row_show(const json_t *row, void *data)
{
    struct incidents *i = data;
    if (i->cli->json) {
        json_t *whole = row_with_user(row);
        json_stream_add(&i->stream, whole);
        json_decref(whole);
        return;
    }
    char **cells = g_new0(char *, 8);
    row_cells(row, cells);
    table_add(i->table, cells);
}

static json_t *
request_of(const struct incidents *i, gint64 limit, char **error_r)
{
    const struct entries since = {.since = i->since};
    json_t *request = entries_request(&since, 0, limit, error_r);
    if (request == NULL) {
        return NULL;
    }
    json_object_set_new(request, "op", json_string("incidents"));
    if (i->kind != NULL) {
        json_object_set_new(request, "kind", json_string(i->kind));
    }
    if (i->key != NULL) {
        json_object_set_new(request, "key", json_string(i->key));
    }
    return request;
}

static int
list(struct incidents *i, struct ask *ask)
{
    static const char *const titles[] = {"TIME", "INCIDENT", "BY",     "KEY",
                                         "FROM", "CLIENT",   "DETAIL", NULL};
    g_autofree char *error = NULL;
    gint64 next = 0;
    json_t *request = request_of(i, i->limit, &error);
    i->table = i->cli->json ? NULL : table_new(titles);
    int rc = request == NULL ? -1 : entries_walk(ask, request, row_show, i, &next, &error);
    if (rc < 0) {
        table_free(i->table);
        return cli_fail("%s", error);
    }
    if (i->cli->json) {
        json_stream_end(&i->stream);
        return CLI_OK;
    }
    table_print(i->table, stdout);
    if (next > 0) {
        puts("There is more: --limit 0 for all.");
    }
    return CLI_OK;
}

static void
row_gather(const json_t *row, void *data)
{
    struct incidents *i = data;
    if (ask_number(row, "row") > i->last) {
        g_ptr_array_add(i->fresh, json_incref((json_t *)(uintptr_t)row));
    }
}

static void
fresh_print(const struct incidents *i, const json_t *row)
{
    if (i->cli->json) {
        json_t *whole = row_with_user(row);
        json_dumpf(whole, stdout, JSON_COMPACT);
        json_decref(whole);
        putchar('\n');
        return;
    }
    char *cells[8] = {NULL};
    row_cells(row, cells);
    printf("%s  %-17s %s  %s  %s  %s  %s\n", cells[0], cells[1], cells[2], cells[3], cells[4],
           cells[5], cells[6]);
    for (int n = 0; cells[n] != NULL; n++) {
        g_free(cells[n]);
    }
}

/* What is new since the last look, oldest first. */
static int
look(struct incidents *i, struct ask *ask, gint64 limit, char **error_r)
{
    json_t *request = request_of(i, limit, error_r);
    i->fresh = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    int rc = request == NULL ? -1 : entries_walk(ask, request, row_gather, i, NULL, error_r);
    for (guint n = i->fresh->len; rc == 0 && n > 0; n--) {
        const json_t *row = g_ptr_array_index(i->fresh, n - 1);
        fresh_print(i, row);
        i->last = ask_number(row, "row");
    }
    g_ptr_array_unref(i->fresh);
    (void)fflush(stdout);
    return rc;
}

static int
follow(struct incidents *i, struct ask *ask)
{
    g_autofree char *error = NULL;
    int rc = look(i, ask, i->limit, &error);
    while (rc == 0 && !ferror(stdout)) {
        sleep(FOLLOW_SECONDS);
        rc = look(i, ask, FOLLOW_BATCH, &error);
    }
    return rc < 0 ? cli_fail("%s", error) : CLI_ERROR;
}

static int
run(struct incidents *i)
{
    struct ask ask;
    if (i->limit < 0) {
        return cli_fail("--limit is not negative");
    }
    if (!entries_connect(i->cli, &ask)) {
        return CLI_ERROR;
    }
    int rc = i->follow ? follow(i, &ask) : list(i, &ask);
    ask_close(&ask);
    return rc;
}

int
cli_incidents(struct cli *cli, int argc, char **argv)
{
    struct incidents i = {.cli = cli, .limit = USUAL_LIMIT};
    const GOptionEntry entries[] = {
        {"since", 0, 0, G_OPTION_ARG_STRING, &i.since, "Since then: 2026-03-01, 12h, 3d", "TIME"},
        {"kind", 0, 0, G_OPTION_ARG_STRING, &i.kind,
         "infected, \"not fully scanned\", error, strike, \"not kept\", show, export, release, "
         "delete, expiry, start",
         "KIND"},
        {"key", 0, 0, G_OPTION_ARG_STRING, &i.key, "About this kept message", "KEY"},
        {"limit", 'n', 0, G_OPTION_ARG_INT64, &i.limit, "At most so many (100); 0: all", "N"},
        {"follow", 'f', 0, G_OPTION_ARG_NONE, &i.follow, "Go on with new ones, oldest first", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int rc = CLI_ERROR;
    if (cli_options(cli, entries, "",
                    "Prints what was found, what failed, and who did what with what was kept.",
                    &argc, &argv)) {
        rc = run(&i);
    }
    g_free(i.since);
    g_free(i.kind);
    g_free(i.key);
    return rc;
}

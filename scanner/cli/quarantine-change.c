/* SPDX-License-Identifier: GPL-2.0-only */
/* postern quarantine release|delete */
#include "quarantine-commands.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "entries.h"
#include "terminal.h"
#include "text.h"

/* Above the time that the mail server may take for the end of a message, and some before it. */
#define ANSWER_MS (1200 * 1000)
#define KEY_SHOWN 12

/* What is done to each of the entries. */
struct change {
    const char *op;
    const char *verb;     /* "Release" */
    const char *done;     /* what the answer says when it was done */
    gboolean asks_always; /* on a terminal, for one entry too */
    const char *state;    /* what --all means without --state; NULL = any */
};

struct changing {
    struct cli *cli;
    const struct change *change;
    gboolean all;
    gboolean yes;
    char **to;
    struct entries entries;
    GPtrArray *keys;
    struct json_stream stream;
    guint failed;
};

static void
key_add(const json_t *row, void *data)
{
    struct changing *c = data;
    const char *key = json_string_value(json_object_get(row, "key"));
    if (key != NULL) {
        g_ptr_array_add(c->keys, g_strdup(key));
    }
}

/* On a connection of its own: who thinks long about the question would lose it. */
static gboolean
keys_find(struct changing *c)
{
    struct ask ask;
    g_autofree char *error = NULL;
    if (c->entries.state == NULL) {
        c->entries.state = g_strdup(c->change->state);
    }
    json_t *request = entries_request(&c->entries, 0, 0, &error);
    if (request == NULL) {
        cli_fail("%s", error);
        return FALSE;
    }
    if (!entries_connect(c->cli, &ask)) {
        json_decref(request);
        return FALSE;
    }
    int rc = entries_walk(&ask, request, key_add, c, NULL, &error);
    ask_close(&ask);
    if (rc < 0) {
        cli_fail("%s", error);
    }
    return rc == 0;
}

static gboolean
confirm(const struct changing *c)
{
    char answer[8] = "";
    gboolean terminal = isatty(STDIN_FILENO);
    if (c->yes || c->keys->len == 0 || (!terminal && !c->all) ||
        (terminal && !c->all && c->keys->len == 1 && !c->change->asks_always)) {
        return TRUE;
    }
    if (!terminal) {
        cli_fail("--all with nobody to ask: --yes says that you mean all %u", c->keys->len);
        return FALSE;
    }
    fprintf(stderr, "%s %u message(s)? [y/N] ", c->change->verb, c->keys->len);
    return fgets(answer, sizeof answer, stdin) != NULL && (*answer == 'y' || *answer == 'Y');
}

static void
result_print(struct changing *c, const char *key, const json_t *answer, const char *error)
{
    const char *done = json_string_value(json_object_get(answer, "done"));
    const char *said = json_string_value(json_object_get(answer, "answer"));
    gboolean well = g_strcmp0(done, c->change->done) == 0;
    c->failed += !well;
    if (c->cli->json) {
        json_t *line = json_pack("{s:s, s:b, s:s?, s:s?, s:s?}", "key", key, "ok", well, "done",
                                 done, "answer", said, "error", error);
        json_stream_add(&c->stream, line);
        json_decref(line);
        return;
    }
    g_autofree char *shown = g_strndup(key, KEY_SHOWN);
    g_autofree char *safe = text_escape(said != NULL ? said : error, 500);
    g_autofree char *word =
        terminal_colour(well ? COLOUR_GOOD : COLOUR_BAD, done != NULL ? done : "not done");
    printf("%s  %s%s%s\n", shown, word, said != NULL || error != NULL ? ": " : "",
           said != NULL || error != NULL ? safe : "");
    fflush(stdout);
}

static json_t *
request_of(const struct changing *c, const char *key)
{
    json_t *request = json_pack("{s:s, s:s}", "op", c->change->op, "key", key);
    if (request != NULL && c->to != NULL) {
        json_t *to = json_array();
        for (char **one = c->to; *one != NULL; one++) {
            json_array_append_new(to, json_string(*one));
        }
        json_object_set_new(request, "to", to);
    }
    return request;
}

/* Returns FALSE when the connection is of no use any more. */
static gboolean
change_one(struct changing *c, struct ask *ask, const char *key)
{
    g_autofree char *error = NULL;
    json_t *answer = NULL;
    json_t *request = request_of(c, key);
    int rc = -EBADE;
    if (request == NULL) {
        error = g_strdup("that is no key");
    } else {
        rc = ask_call(ask, request, -1, ANSWER_MS, &answer, NULL, &error);
    }
    result_print(c, key, answer, error);
    json_decref(answer);
    json_decref(request);
    return rc == 0 || rc == -EBADE;
}

static int
change_all(struct changing *c, struct ask *ask)
{
    gboolean progress = c->keys->len > 20 && isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO);
    gboolean connected = TRUE;
    guint i;
    for (i = 0; i < c->keys->len && connected; i++) {
        connected = change_one(c, ask, g_ptr_array_index(c->keys, i));
        if (progress) {
            fprintf(stderr, "\r%u of %u", i + 1, c->keys->len);
        }
    }
    if (progress) {
        fputc('\n', stderr);
    }
    if (c->cli->json) {
        json_stream_end(&c->stream);
    } else if (c->keys->len != 1) {
        printf("%u of %u done\n", i - c->failed, c->keys->len);
    }
    if (!connected) {
        return CLI_ERROR;
    }
    return c->failed == 0 ? CLI_OK : CLI_FOUND;
}

static int
change_run(struct changing *c, int argc, char **argv)
{
    struct ask ask;
    if (c->all != (argc == 1)) {
        return cli_fail(c->all ? "--all and keys exclude each other"
                               : "name keys, or --all with what chooses them (--sender, --since)");
    }
    if (!c->all && !entries_is_empty(&c->entries)) {
        return cli_fail("what chooses entries goes with --all, not with keys");
    }
    for (int i = 1; i < argc; i++) {
        if (!g_ptr_array_find_with_equal_func(c->keys, argv[i], g_str_equal, NULL)) {
            g_ptr_array_add(c->keys, g_strdup(argv[i]));
        }
    }
    if ((c->all && !keys_find(c)) || !confirm(c) || !entries_connect(c->cli, &ask)) {
        return CLI_ERROR;
    }
    int rc = change_all(c, &ask);
    ask_close(&ask);
    return rc;
}

static int
change(struct changing *c, const GOptionEntry more[], const char *summary, int argc, char **argv)
{
    g_autofree GOptionEntry *options = entries_options(&c->entries, more);
    int rc = CLI_ERROR;
    c->keys = g_ptr_array_new_with_free_func(g_free);
    if (cli_options(c->cli, options, "KEY...", summary, &argc, &argv)) {
        rc = change_run(c, argc, argv);
    }
    g_ptr_array_unref(c->keys);
    entries_clear(&c->entries);
    g_strfreev(c->to);
    return rc;
}

#define ALL_OPTIONS(c)                                                                     \
    {"all", 0, 0, G_OPTION_ARG_NONE, &(c).all, "All that the other options choose", NULL}, \
    {                                                                                      \
        "yes", 'y', 0, G_OPTION_ARG_NONE, &(c).yes, "Do not ask", NULL                     \
    }

int
cli_quarantine_release(struct cli *cli, int argc, char **argv)
{
    static const struct change release = {
        .op = "quarantine-release", .verb = "Release", .done = "released", .state = "kept"};
    struct changing c = {.cli = cli, .change = &release};
    const GOptionEntry more[] = {
        {"to", 0, 0, G_OPTION_ARG_STRING_ARRAY, &c.to,
         "Deliver to ADDRESS instead of the recipients (several times: to several)", "ADDRESS"},
        ALL_OPTIONS(c),
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    return change(&c, more, "Delivers what was kept, unscanned and as it came.", argc, argv);
}

int
cli_quarantine_delete(struct cli *cli, int argc, char **argv)
{
    static const struct change delete = {.op = "quarantine-delete",
                                         .verb = "Delete for ever",
                                         .done = "deleted",
                                         .asks_always = TRUE};
    struct changing c = {.cli = cli, .change = &delete};
    const GOptionEntry more[] = {
        ALL_OPTIONS(c),
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    return change(&c, more, "Deletes what was kept, for ever.", argc, argv);
}

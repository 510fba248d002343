/* SPDX-License-Identifier: GPL-2.0-only */
#include "entries.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "nearest.h"
#include "text.h"
#include "when.h"

#define ANSWER_MS 60000

void
entries_clear(struct entries *entries)
{
    char **const all[] = {&entries->since,     &entries->until,  &entries->sender,
                          &entries->recipient, &entries->reason, &entries->subject,
                          &entries->verdict,   &entries->state};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        g_clear_pointer(all[i], g_free);
    }
}

gboolean
entries_is_empty(const struct entries *e)
{
    return e->since == NULL && e->until == NULL && e->sender == NULL && e->recipient == NULL &&
           e->reason == NULL && e->subject == NULL && e->verdict == NULL && e->state == NULL;
}

GOptionEntry *
entries_options(struct entries *e, const GOptionEntry more[])
{
#define TEXT_OPTION(name, field, text, arg)                   \
    {                                                         \
        name, 0, 0, G_OPTION_ARG_STRING, &e->field, text, arg \
    }
    const GOptionEntry own[] = {
        TEXT_OPTION("since", since, "Kept since then: 2026-03-01, 12h, 3d", "TIME"),
        TEXT_OPTION("until", until, "Kept before then", "TIME"),
        TEXT_OPTION("sender", sender, "Part of the sender; * is anything", "TEXT"),
        TEXT_OPTION("recipient", recipient, "Part of a recipient", "TEXT"),
        TEXT_OPTION("reason", reason, "Part of the reason, a signature's name", "TEXT"),
        TEXT_OPTION("subject", subject, "Part of the subject", "TEXT"),
        TEXT_OPTION("verdict", verdict, "infected, \"not fully scanned\", error", "VERDICT"),
        TEXT_OPTION("state", state, "kept, releasing, released", "STATE"),
    };
#undef TEXT_OPTION
    size_t n = 0;
    while (more[n].long_name != NULL) {
        n++;
    }
    GOptionEntry *all = g_new0(GOptionEntry, G_N_ELEMENTS(own) + n + 1);
    memcpy(all, own, sizeof own);
    memcpy(all + G_N_ELEMENTS(own), more, n * sizeof *more);
    return all;
}

static gboolean
time_add(json_t *request, const char *name, const char *text, char **error_r)
{
    if (text == NULL) {
        return TRUE;
    }
    gint64 at;
    if (!when_option(name, text, &at, error_r)) {
        return FALSE;
    }
    json_object_set_new(request, name, json_integer((json_int_t)at));
    return TRUE;
}

/* Text in another encoding than UTF-8 fits nothing that is kept. */
static void
text_add(json_t *request, const char *name, const char *text)
{
    if (text != NULL) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        json_object_set_new(request, name, json_string(valid));
    }
}

/* A name that does not exist would choose nothing, and look like an empty quarantine. */
static gboolean
name_add(json_t *request, const char *name, const char *text, const char *const known[],
         char **error_r)
{
    if (text == NULL || g_strv_contains(known, text)) {
        text_add(request, name, text);
        return TRUE;
    }
    const char *near = nearest_name(text, known);
    g_autofree char *shown = text_escape(text, 40);
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)known);
    *error_r = g_strdup_printf("--%s %s: must be one of %s%s%s%s", name, shown, all,
                               near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                               near != NULL ? "?" : "");
    return FALSE;
}

json_t *
entries_request(const struct entries *e, gint64 before, gint64 limit, char **error_r)
{
    static const char *const verdicts[] = {"infected", "not fully scanned", "error", "clean", NULL};
    static const char *const states[] = {"kept", "releasing", "released", NULL};
    json_t *request = json_pack("{s:s, s:I, s:I}", "op", "quarantine-list", "before",
                                (json_int_t)before, "limit", (json_int_t)limit);
    if (!time_add(request, "since", e->since, error_r) ||
        !time_add(request, "until", e->until, error_r) ||
        !name_add(request, "verdict", e->verdict, verdicts, error_r) ||
        !name_add(request, "state", e->state, states, error_r)) {
        json_decref(request);
        return NULL;
    }
    text_add(request, "sender", e->sender);
    text_add(request, "recipient", e->recipient);
    text_add(request, "reason", e->reason);
    text_add(request, "subject", e->subject);
    return request;
}

int
entries_walk(struct ask *ask, json_t *request, entries_row *each, void *data, gint64 *ret_next,
             char **error_r)
{
    const json_t *next = request;
    gboolean more = TRUE;
    int rc = 0;
    while (more && rc == 0) {
        json_t *answer = NULL;
        const json_t *row;
        size_t i;
        rc = ask_call(ask, next, -1, ANSWER_MS, &answer, NULL, error_r);
        json_array_foreach(json_object_get(answer, "rows"), i, row)
        {
            each(row, data);
        }
        more = json_is_true(json_object_get(answer, "more"));
        if (ret_next != NULL) {
            *ret_next = json_integer_value(json_object_get(answer, "next"));
        }
        json_decref(answer);
        next = NULL;
    }
    json_decref(request);
    return rc;
}

gboolean
entries_connect(struct cli *cli, struct ask *ask)
{
    g_autofree char *error = NULL;
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return FALSE;
    }
    if (ask_open(ask, "posternd", settings->control_socket, &error) < 0) {
        cli_fail("%s", error);
        return FALSE;
    }
    return TRUE;
}

void
json_stream_add(struct json_stream *stream, const json_t *object)
{
    fputs(stream->begun ? ",\n" : "[\n", stdout);
    stream->begun = TRUE;
    json_dumpf(object, stdout, JSON_INDENT(2));
}

void
json_stream_end(struct json_stream *stream)
{
    puts(stream->begun ? "\n]" : "[]");
}

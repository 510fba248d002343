/* SPDX-License-Identifier: GPL-2.0-only */
/* postern status */
#include "cli.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <jansson.h>

#include "ask.h"
#include "terminal.h"
#include "text.h"

#define ANSWER_MS 5000

struct report {
    json_t *posternd; /* NULL: no answer; then the error says why */
    json_t *engine;
    char *posternd_error;
    char *engine_error;
};

static const char *
text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* Rounded: the engine tells some times as fractions. */
static gint64
number_of(const json_t *object, const char *name)
{
    return (gint64)(json_number_value(json_object_get(object, name)) + 0.5);
}

G_GNUC_PRINTF(2, 3)
static void
line(const char *label, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    printf("%-11s%s\n", label, text);
}

static void
print_loading(const json_t *engine)
{
    g_autofree char *since = terminal_time(number_of(engine, "since"));
    gint64 past = g_get_real_time() / G_USEC_PER_SEC - number_of(engine, "since");
    gint64 usual = number_of(engine, "load_seconds");
    g_autofree char *word = terminal_colour(COLOUR_DOUBT, "loading");
    g_autofree char *of =
        usual > 0 ? g_strdup_printf(" of about %" G_GINT64_FORMAT " s", usual) : g_strdup("");
    line("Engine", "%s since %s, %" G_GINT64_FORMAT " s%s", word, since, MAX(past, 0), of);
}

static void
print_state(const json_t *engine, const char *state)
{
    gboolean ready = strcmp(state, "ready") == 0;
    g_autofree char *since = terminal_time(number_of(engine, "since"));
    g_autofree char *safe = text_escape(state, 20);
    g_autofree char *word = terminal_colour(ready ? COLOUR_GOOD : COLOUR_BAD, safe);
    g_autofree char *error = text_escape(text_of(engine, "error"), 300);
    line("Engine", "%s since %s%s%s", word, since, text_of(engine, "error") != NULL ? ": " : "",
         text_of(engine, "error") != NULL ? error : "");
}

static void
print_signatures(const json_t *engine)
{
    g_autofree char *generation = text_escape(text_of(engine, "generation"), 64);
    line("Signatures", "%" G_GINT64_FORMAT ", generation %s", number_of(engine, "signatures"),
         generation);
    if (json_is_true(json_object_get(engine, "test_only"))) {
        g_autofree char *loud = terminal_colour(
            COLOUR_BAD, "ONLY TEST SIGNATURES: no real virus is found! Install signatures with "
                        "`postern signatures add`.");
        line("", "%s", loud);
    }
}

static void
print_engine(const json_t *engine)
{
    const char *state = text_of(engine, "state");
    if (state != NULL && strcmp(state, "loading") == 0) {
        print_loading(engine);
    } else {
        print_state(engine, state == NULL ? "unknown" : state);
    }
    print_signatures(engine);
    g_autofree char *sandbox = text_escape(text_of(engine, "sandbox"), 200);
    line("Sandbox", "%s", sandbox);
    line("Workers",
         "%" G_GINT64_FORMAT " alive; the signature process was restarted %" G_GINT64_FORMAT
         " time(s)",
         number_of(engine, "workers"), number_of(engine, "restarts"));
}

static void
print_counters(const json_t *counters)
{
    const char *key;
    json_t *value;
    gboolean first = TRUE;
    printf("%-11s", "Counters");
    json_object_foreach((json_t *)(uintptr_t)counters, key, value)
    {
        g_autofree char *name = text_escape(key, 40);
        printf("%s%s %" JSON_INTEGER_FORMAT, first ? "" : ", ", name, json_integer_value(value));
        first = FALSE;
    }
    putchar('\n');
}

static void
print_posternd(const json_t *p)
{
    const json_t *pool = json_object_get(p, "pool");
    const json_t *listener;
    size_t i;
    gboolean ready = json_is_true(json_object_get(p, "ready"));
    g_autofree char *since = terminal_time(number_of(p, "since"));
    g_autofree char *version = text_escape(text_of(p, "version"), 40);
    g_autofree char *dir = text_escape(text_of(p, "state_dir"), 300);
    g_autofree char *word =
        terminal_colour(ready ? COLOUR_GOOD : COLOUR_DOUBT,
                        ready ? "serving" : "answering 451 (no verdict can be given)");
    line("Service", "%s, version %s, since %s", word, version, since);
    line("State", "%s, epoch %" G_GINT64_FORMAT, dir, number_of(p, "epoch"));
    line("Queue",
         "%" G_GINT64_FORMAT " waiting, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " workers idle",
         number_of(pool, "queued"), number_of(pool, "idle"), number_of(pool, "workers"));
    json_array_foreach(json_object_get(p, "milter"), i, listener)
    {
        g_autofree char *address = text_escape(text_of(listener, "address"), 200);
        line(i == 0 ? "Listeners" : "", "%s, %" G_GINT64_FORMAT " connection(s)", address,
             number_of(listener, "connections"));
    }
    print_counters(json_object_get(p, "counters"));
}

static json_t *
ask_status(const char *service, const char *path, char **error_r)
{
    struct ask ask;
    json_t *answer = NULL;
    if (ask_open(&ask, service, path, error_r) < 0) {
        return NULL;
    }
    json_t *request = json_pack("{s:s}", "op", "status");
    (void)ask_call(&ask, request, -1, ANSWER_MS, &answer, NULL, error_r);
    json_decref(request);
    ask_close(&ask);
    return answer;
}

static void
report_make(const struct settings *settings, struct report *report)
{
    g_autofree char *engine = g_build_filename(settings->engine_dir, "engine.sock", NULL);
    report->posternd = ask_status("posternd", settings->control_socket, &report->posternd_error);
    report->engine = ask_status("postern-engine", engine, &report->engine_error);
    if (report->engine == NULL) {
        json_t *pool = json_object_get(report->posternd, "pool");
        json_t *seen = json_object_get(pool, "engine");
        report->engine = json_is_object(seen) ? json_incref(seen) : NULL;
    }
}

static void
report_clear(struct report *report)
{
    json_decref(report->posternd);
    json_decref(report->engine);
    g_free(report->posternd_error);
    g_free(report->engine_error);
}

static gboolean
is_ready(const struct report *report)
{
    return json_is_true(json_object_get(report->posternd, "ready"));
}

static void
print_json(const struct report *report)
{
    json_t *all = json_pack("{s:b, s:O?, s:O?}", "ready", is_ready(report), "posternd",
                            report->posternd, "engine", report->engine);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void
print_text(const struct report *report)
{
    if (report->engine != NULL) {
        print_engine(report->engine);
    } else {
        line("Engine", "%s", report->engine_error);
    }
    if (report->posternd != NULL) {
        print_posternd(report->posternd);
    } else {
        line("Service", "%s", report->posternd_error);
        line("", "This node does not serve: it stands by, or posternd was not started.");
    }
}

int
cli_status(struct cli *cli, int argc, char **argv)
{
    struct report report = {0};
    int rc = CLI_ERROR;
    if (!cli_options(cli, NULL, "", "Prints what this node's scanner does now.", &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    report_make(cli_settings(cli), &report);
    if (report.posternd == NULL && report.engine == NULL) {
        cli_fail("%s; %s", report.posternd_error, report.engine_error);
    } else {
        rc = is_ready(&report) ? CLI_OK : CLI_FOUND;
    }
    if (cli->json) {
        print_json(&report);
    } else if (rc != CLI_ERROR) {
        print_text(&report);
    }
    report_clear(&report);
    return rc;
}

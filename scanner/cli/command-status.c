/* SPDX-License-Identifier: GPL-2.0-only */
/* postern status */
#include "cli.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <jansson.h>

#include "ask.h"
#include "manifest.h"
#include "terminal.h"
#include "text.h"

#define WAIT_US 200000
#define DAY 86400

struct report {
    json_t *posternd; /* NULL: no answer; then the error says why */
    json_t *engine;
    char *posternd_error;
    char *engine_error;
    gint64 signatures; /* Unix seconds of the newest signature file on this node; 0 = unknown */
    gint64 age_limit;  /* seconds after which they are old; 0: never */
};

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
    g_autofree char *since = terminal_time(ask_number(engine, "since"));
    gint64 past = g_get_real_time() / G_USEC_PER_SEC - ask_number(engine, "since");
    gint64 usual = ask_number(engine, "load_seconds");
    g_autofree char *word = terminal_colour(COLOUR_DOUBT, "loading");
    g_autofree char *of =
        usual > 0 ? g_strdup_printf(" of about %" G_GINT64_FORMAT " s", usual) : g_strdup("");
    line("Engine", "%s since %s, %" G_GINT64_FORMAT " s%s", word, since, MAX(past, 0), of);
}

static void
print_state(const json_t *engine, const char *state)
{
    gboolean ready = strcmp(state, "ready") == 0;
    g_autofree char *since = terminal_time(ask_number(engine, "since"));
    g_autofree char *safe = text_escape(state, 20);
    g_autofree char *word = terminal_colour(ready ? COLOUR_GOOD : COLOUR_BAD, safe);
    g_autofree char *error = text_escape(ask_text(engine, "error"), 300);
    line("Engine", "%s since %s%s%s", word, since, ask_text(engine, "error") != NULL ? ": " : "",
         ask_text(engine, "error") != NULL ? error : "");
}

static void
print_signatures(const json_t *engine)
{
    g_autofree char *generation = text_escape(ask_text(engine, "generation"), 64);
    line("Signatures", "%" G_GINT64_FORMAT ", generation %s", ask_number(engine, "signatures"),
         generation);
    if (json_is_true(json_object_get(engine, "test_only"))) {
        g_autofree char *loud = terminal_colour(
            COLOUR_BAD, "ONLY TEST SIGNATURES: no real virus is found! `postern signatures "
                        "update` fetches signatures, `add` installs files.");
        line("", "%s", loud);
    }
}

/* New signatures that will not be used, or cannot be tried. */
static void
print_trial(const json_t *engine)
{
    const json_t *last = json_object_get(json_object_get(engine, "trial"), "last");
    const char *outcome = ask_text(last, "outcome");
    if (g_strcmp0(outcome, "rejected") == 0 || g_strcmp0(outcome, "failed") == 0) {
        g_autofree char *generation = text_escape(ask_text(last, "generation"), 64);
        g_autofree char *reason = text_escape(ask_text(last, "reason"), 300);
        gboolean rejected = strcmp(outcome, "rejected") == 0;
        g_autofree char *word =
            terminal_colour(COLOUR_BAD, rejected ? "rejected" : "cannot be tried");
        line("", "new ones, generation %s: %s: %s", generation, word, reason);
    }
}

/* Both tell the same kind of thing, each of what it knows. */
static void
print_health(const char *label, const json_t *health)
{
    size_t i;
    const json_t *cause;
    const char *level = ask_text(health, "level");
    if (level == NULL) {
        return; /* an older Postern */
    }
    enum colour colour = strcmp(level, "green") == 0 ? COLOUR_GOOD
                         : strcmp(level, "red") == 0 ? COLOUR_BAD
                                                     : COLOUR_DOUBT;
    g_autofree char *safe = text_escape(level, 20);
    g_autofree char *word = terminal_colour(colour, safe);
    line(label, "%s", word);
    json_array_foreach(json_object_get(health, "causes"), i, cause)
    {
        g_autofree char *of = text_escape(ask_text(cause, "level"), 20);
        g_autofree char *text = text_escape(ask_text(cause, "text"), 200);
        line("", "%s: %s", of, text);
    }
}

/* What is being put in the place of what serves; or could not be, the last time. */
static void
print_adoption(const json_t *engine)
{
    const json_t *adoption = json_object_get(engine, "adoption");
    const json_t *failed = json_object_get(engine, "adoption_failed");
    if (json_is_object(adoption)) {
        const char *why = ask_text(adoption, "why");
        g_autofree char *generation = text_escape(ask_text(adoption, "generation"), 40);
        g_autofree char *text = text_escape(ask_text(adoption, "text"), 100);
        g_autofree char *reason = text_escape(why, 300);
        gboolean pauses = json_is_true(json_object_get(adoption, "pauses"));
        g_autofree char *word = terminal_colour(pauses ? COLOUR_BAD : COLOUR_DOUBT, text);
        line("Adoption", "%s: %s%s%s", generation, word, why != NULL ? ": " : "",
             why != NULL ? reason : "");
    }
    if (json_is_object(failed)) {
        g_autofree char *generation = text_escape(ask_text(failed, "generation"), 40);
        g_autofree char *error = text_escape(ask_text(failed, "error"), 300);
        g_autofree char *word = terminal_colour(COLOUR_BAD, "could not be adopted");
        line("", "%s %s: %s", generation, word, error);
    }
}

static void
print_engine(const json_t *engine)
{
    const char *state = ask_text(engine, "state");
    if (state != NULL && strcmp(state, "loading") == 0) {
        print_loading(engine);
    } else {
        print_state(engine, state == NULL ? "unknown" : state);
    }
    print_signatures(engine);
    print_trial(engine);
    print_adoption(engine);
    g_autofree char *sandbox = text_escape(ask_text(engine, "sandbox"), 200);
    line("Sandbox", "%s", sandbox);
    line("Workers",
         "%" G_GINT64_FORMAT " alive; the signature process was restarted %" G_GINT64_FORMAT
         " time(s)",
         ask_number(engine, "workers"), ask_number(engine, "restarts"));
    print_health("This node", json_object_get(engine, "health"));
}

/* What has never happened is left out; --json has all. */
static void
print_counters(const json_t *counters)
{
    const char *key;
    json_t *value;
    gboolean any = FALSE;
    printf("%-11s", "Counters");
    json_object_foreach((json_t *)(uintptr_t)counters, key, value)
    {
        if (json_integer_value(value) > 0) {
            g_autofree char *name = text_escape(key, 40);
            printf("%s%s %" JSON_INTEGER_FORMAT, any ? ", " : "", name, json_integer_value(value));
            any = TRUE;
        }
    }
    puts(any ? "" : "nothing yet");
}

/* A passive node does not have the state mounted, and not everybody may look. */
static void
print_state_dir(const json_t *p)
{
    struct statvfs fs;
    const char *raw = ask_text(p, "state_dir");
    g_autofree char *dir = text_escape(raw, 300);
    g_autofree char *room = NULL;
    if (raw != NULL && statvfs(raw, &fs) == 0) {
        g_autofree char *size = terminal_size((guint64)fs.f_bavail * fs.f_frsize);
        room = g_strdup_printf(", %s free", size);
    }
    line("State", "%s%s, epoch %" G_GINT64_FORMAT, dir, room == NULL ? "" : room,
         ask_number(p, "epoch"));
}

/* An older posternd has none. */
static void
print_format(const json_t *p)
{
    gint64 format = ask_number(p, "state_format");
    gint64 newest = json_integer_value(json_array_get(json_object_get(p, "state_formats"), 1));
    if (format > 0 && format < newest) {
        line("",
             "state format %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
             " available: postern cluster finish-upgrade",
             format, newest);
    }
}

static void
print_spool(const json_t *spool)
{
    g_autofree char *used = terminal_size((guint64)ask_number(spool, "used"));
    g_autofree char *limit = terminal_size((guint64)ask_number(spool, "limit"));
    line("Memory", "%s of %s for messages in progress", used, limit);
}

static void
print_age(gint64 newest, gint64 limit)
{
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - newest;
    gboolean is_old = limit > 0 && age > limit;
    g_autofree char *when = terminal_time(newest);
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT " day(s) old%s", age / DAY,
                                            is_old ? ": new viruses pass" : "");
    g_autofree char *word = terminal_colour(is_old ? COLOUR_DOUBT : COLOUR_GOOD, text);
    line("", "%s (installed on this node; of %s)", word, when);
}

static void
print_listeners(const char *label, const json_t *listeners)
{
    size_t i;
    const json_t *listener;
    json_array_foreach((json_t *)(uintptr_t)listeners, i, listener)
    {
        gboolean submission = json_is_true(json_object_get(listener, "submission"));
        g_autofree char *address = text_escape(ask_text(listener, "address"), 200);
        line(submission ? "Submission" : label, "%s, %" G_GINT64_FORMAT " connection(s)", address,
             ask_number(listener, "connections"));
    }
}

static void
print_posternd(const json_t *p)
{
    const json_t *pool = json_object_get(p, "pool");
    gboolean ready = json_is_true(json_object_get(p, "ready"));
    g_autofree char *since = terminal_time(ask_number(p, "since"));
    g_autofree char *version = text_escape(ask_text(p, "version"), 40);
    g_autofree char *word =
        terminal_colour(ready ? COLOUR_GOOD : COLOUR_DOUBT,
                        ready ? "serving" : "answering 451 (no verdict can be given)");
    line("Service", "%s, version %s, since %s", word, version, since);
    if (!ready && ask_text(pool, "engine_error") != NULL) {
        g_autofree char *why = text_escape(ask_text(pool, "engine_error"), 500);
        line("", "the engine: %s", why);
    }
    print_state_dir(p);
    print_format(p);
    print_spool(json_object_get(p, "spool"));
    line("Queue",
         "%" G_GINT64_FORMAT " waiting, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " workers idle",
         ask_number(pool, "queued"), ask_number(pool, "idle"), ask_number(pool, "workers"));
    print_health("Load", json_object_get(p, "health"));
    print_listeners("Milter", json_object_get(p, "milter"));
    print_listeners("clamd", json_object_get(json_object_get(p, "clamd"), "listeners"));
    print_counters(json_object_get(p, "counters"));
}

static void
report_make(const struct settings *settings, struct report *report)
{
    g_autofree char *engine = g_build_filename(settings->engine_dir, "engine.sock", NULL);
    report->posternd = ask_status("posternd", settings->control_socket, &report->posternd_error);
    report->signatures = manifest_newest(settings->signatures_dir);
    report->age_limit = (gint64)settings->age_limit;
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
    *report = (struct report){0};
}

static gboolean
is_ready(const struct report *report)
{
    return json_is_true(json_object_get(report->posternd, "ready"));
}

static void
print_json(const struct report *report)
{
    json_t *all =
        json_pack("{s:b, s:O?, s:O?, s:I}", "ready", is_ready(report), "posternd", report->posternd,
                  "engine", report->engine, "signatures_time", (json_int_t)report->signatures);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void
print_text(const struct report *report)
{
    if (report->engine != NULL) {
        print_engine(report->engine);
        if (report->signatures != 0 &&
            !json_is_true(json_object_get(report->engine, "test_only"))) {
            print_age(report->signatures, report->age_limit);
        }
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

/* Looks again until this node serves, for up to SECONDS. */
static void
report_wait(const struct settings *settings, struct report *report, int seconds)
{
    gint64 until = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    report_make(settings, report);
    while (!is_ready(report) && g_get_monotonic_time() < until) {
        g_usleep(WAIT_US);
        report_clear(report);
        report_make(settings, report);
    }
}

int
cli_status(struct cli *cli, int argc, char **argv)
{
    struct report report = {0};
    int rc = CLI_ERROR;
    int seconds = 0;
    const GOptionEntry entries[] = {
        {"wait", 'w', 0, G_OPTION_ARG_INT, &seconds,
         "Wait so many seconds at most until this node serves", "SECONDS"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "", "Prints what this node's scanner does now.", &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    report_wait(cli_settings(cli), &report, seconds);
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

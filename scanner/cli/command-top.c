/* SPDX-License-Identifier: GPL-2.0-only */
/* postern top */
#include "cli.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "ask.h"
#include "entries.h"
#include "terminal.h"
#include "text.h"

#define ANSWER_MS 10000
#define NAMES 5
/* posternd closes a connection that says nothing for half a minute. */
#define INTERVAL_MAX 20
#define SCREEN_CLEAR "\033[H\033[2J"

/* One look at posternd. */
struct sample {
    gint64 at_us; /* monotonic */
    json_t *status;
    json_t *names[3]; /* busiest senders, recipients, clients of this hour */
    json_t *incidents;
};

static const char *const lists[] = {"sender", "recipient", "client"};

struct top {
    struct cli *cli;
    gint64 interval;
    gboolean once;
    struct sample before;
    struct sample now;
};

static void
sample_clear(struct sample *sample)
{
    json_decref(sample->status);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        json_decref(sample->names[i]);
    }
    json_decref(sample->incidents);
    *sample = (struct sample){0};
}

/* Returns the answer, a new reference, or NULL with *ERROR_R. REQUEST is taken over. */
static json_t *
question(struct ask *ask, json_t *request, char **error_r)
{
    json_t *answer = NULL;
    (void)ask_call(ask, request, -1, ANSWER_MS, &answer, NULL, error_r);
    json_decref(request);
    return answer;
}

static gboolean
sample_take(struct ask *ask, struct sample *sample, char **error_r)
{
    sample_clear(sample);
    sample->at_us = g_get_monotonic_time();
    sample->status = question(ask, json_pack("{s:s}", "op", "status"), error_r);
    for (size_t i = 0; i < G_N_ELEMENTS(lists) && *error_r == NULL; i++) {
        sample->names[i] = question(ask,
                                    json_pack("{s:s, s:i, s:s, s:i}", "op", "counters", "hours", 1,
                                              "by", lists[i], "limit", NAMES),
                                    error_r);
    }
    if (*error_r == NULL) {
        sample->incidents =
            question(ask, json_pack("{s:s, s:i}", "op", "incidents", "limit", NAMES), error_r);
    }
    return *error_r == NULL;
}

/* What COUNTER has grown by a second between the two looks. */
static double
rate(const struct top *top, const char *counter)
{
    const json_t *now = json_object_get(top->now.status, "counters");
    const json_t *before = json_object_get(top->before.status, "counters");
    double seconds = (double)(top->now.at_us - top->before.at_us) / G_USEC_PER_SEC;
    gint64 grown = ask_number(now, counter) - ask_number(before, counter);
    /* posternd was started anew in between: its counters began again. */
    return grown < 0 || seconds <= 0 ? 0 : (double)grown / seconds;
}

static void
rates_print(const struct top *top)
{
    const json_t *counters = json_object_get(top->now.status, "counters");
    const char *name;
    json_t *value;
    printf("%-13s %10s %10s\n", "", "per second", "since start");
    json_object_foreach((json_t *)(uintptr_t)counters, name, value)
    {
        g_autofree char *safe = text_escape(name, 20);
        printf("%-13s %10.1f %10" JSON_INTEGER_FORMAT "\n", safe, rate(top, name),
               json_integer_value(value));
    }
}

static void
names_print(const struct top *top)
{
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        size_t n;
        const json_t *row;
        printf("\n%-44s %9s %9s %9s\n",
               i == 0   ? "Senders of this hour"
               : i == 1 ? "Recipients"
                        : "Clients",
               "messages", "infected", "unscanned");
        json_array_foreach(json_object_get(top->now.names[i], "rows"), n, row)
        {
            g_autofree char *safe =
                text_escape(json_string_value(json_object_get(row, "name")), 44);
            printf("%-44s %9" G_GINT64_FORMAT " %9" G_GINT64_FORMAT " %9" G_GINT64_FORMAT "\n",
                   safe, ask_number(row, "messages"), ask_number(row, "infected"),
                   ask_number(row, "unscanned"));
        }
    }
}

static void
incidents_print(const struct top *top)
{
    size_t n;
    const json_t *row;
    puts("\nLast incidents");
    json_array_foreach(json_object_get(top->now.incidents, "rows"), n, row)
    {
        g_autofree char *time = terminal_time(ask_number(row, "time"));
        g_autofree char *kind = text_escape(json_string_value(json_object_get(row, "kind")), 20);
        g_autofree char *detail =
            text_escape(json_string_value(json_object_get(row, "detail")), 60);
        printf("%s  %-17s  %s\n", time, kind, detail);
    }
}

static void
print_text(const struct top *top)
{
    const json_t *pool = json_object_get(top->now.status, "pool");
    gboolean ready = json_is_true(json_object_get(top->now.status, "ready"));
    g_autofree char *time = terminal_time(g_get_real_time() / G_USEC_PER_SEC);
    g_autofree char *word =
        terminal_colour(ready ? COLOUR_GOOD : COLOUR_DOUBT, ready ? "serving" : "answering 451");
    if (!top->once && isatty(STDOUT_FILENO)) {
        fputs(SCREEN_CLEAR, stdout);
    }
    printf("postern %s  %s, %.1f message(s)/s; %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
           " worker(s) idle, %" G_GINT64_FORMAT " waiting\n\n",
           time, word, rate(top, "messages"), ask_number(pool, "idle"), ask_number(pool, "workers"),
           ask_number(pool, "queued"));
    rates_print(top);
    names_print(top);
    incidents_print(top);
}

static json_t *
rates_to_json(const struct top *top)
{
    const char *name;
    json_t *value;
    json_t *rates = json_object();
    json_object_foreach(json_object_get(top->now.status, "counters"), name, value)
    {
        json_object_set_new(rates, name, json_real(rate(top, name)));
    }
    return rates;
}

/* One object a line, so that a reader may follow. */
static void
print_json(const struct top *top)
{
    json_t *all = json_pack("{s:I, s:O, s:o, s:O?, s:O?, s:O?, s:O?}", "time",
                            (json_int_t)(g_get_real_time() / G_USEC_PER_SEC), "status",
                            top->now.status, "per_second", rates_to_json(top), "senders",
                            json_object_get(top->now.names[0], "rows"), "recipients",
                            json_object_get(top->now.names[1], "rows"), "clients",
                            json_object_get(top->now.names[2], "rows"), "incidents",
                            json_object_get(top->now.incidents, "rows"));
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

/* A rate needs two looks. */
static int
run(struct top *top, struct ask *ask)
{
    g_autofree char *error = NULL;
    gboolean well = sample_take(ask, &top->now, &error);
    while (well && !ferror(stdout)) {
        g_usleep((gulong)(top->interval * G_USEC_PER_SEC));
        sample_clear(&top->before);
        top->before = top->now;
        top->now = (struct sample){0};
        well = sample_take(ask, &top->now, &error);
        if (well && top->cli->json) {
            print_json(top);
        } else if (well) {
            print_text(top);
        }
        (void)fflush(stdout);
        if (well && top->once) {
            return CLI_OK;
        }
    }
    return well ? CLI_ERROR : cli_fail("%s", error);
}

int
cli_top(struct cli *cli, int argc, char **argv)
{
    struct ask ask;
    struct top top = {.cli = cli, .interval = 2};
    const GOptionEntry entries[] = {
        {"interval", 'i', 0, G_OPTION_ARG_INT64, &top.interval, "Seconds between two looks (2)",
         "N"},
        {"once", '1', 0, G_OPTION_ARG_NONE, &top.once, "Print once, after one interval", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "", "Prints what passes now, and who sends it, again and again.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (top.interval < 1 || top.interval > INTERVAL_MAX) {
        return cli_fail("--interval is between 1 and %d seconds", INTERVAL_MAX);
    }
    if (!entries_connect(cli, &ask)) {
        return CLI_ERROR;
    }
    int rc = run(&top, &ask);
    ask_close(&ask);
    sample_clear(&top.before);
    sample_clear(&top.now);
    return rc;
}

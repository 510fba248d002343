/* SPDX-License-Identifier: GPL-2.0-only */
/* postern prove */
#include "cli.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <jansson.h>

#include "maillog.h"
#include "proof.h"
#include "terminal.h"
#include "text.h"
#include "when.h"

#define JOURNAL "journal"
#define RELEASE_SERVICE "postern-release"

struct sums {
    gboolean json;
    gboolean quiet; /* what is accounted for is not printed */
    guint64 states[PROOF_STATES];
    guint64 temporary; /* refused by a milter before there was a message */
    guint64 lasting;
    guint64 skipped;
    guint64 lines;
};

static gboolean
is_bad(enum proof_state state)
{
    return state == PROOF_UNRECORDED || state == PROOF_CONTRARY;
}

/* What Postfix did not take is with its sender: it is counted only. */
static gboolean
is_shown(const struct sums *sums, const struct proof_message *m)
{
    return is_bad(m->state) ||
           (!sums->quiet && m->state != PROOF_REFUSED && m->state != PROOF_GIVEN_UP);
}

static char *
explain(const struct proof_message *m)
{
    g_autofree char *source = text_escape(m->source, 100);
    g_autofree char *service = text_escape(m->service, 60);
    switch (m->cause) {
    case PROOF_BYPASSED: {
        g_autofree char *hint = text_escape(m->hint, 200);
        return g_strdup_printf("Postfix went on without its milter: %s", hint);
    }
    case PROOF_CRASH:
        return g_strdup("posternd was started anew just then: a crash took its line");
    case PROOF_NOT_SEEN:
        return m->parent != NULL
                   ? g_strdup_printf("no sign of Postern, nor at %s that it comes from", m->parent)
                   : g_strdup_printf("no sign of Postern; from %s by %s; see `postern doctor`",
                                     source, service);
    case PROOF_NO_CAUSE:
        break;
    }
    if (m->state == PROOF_CONTRARY) {
        return g_strdup("Postern's answer was not to deliver it");
    }
    return m->parent != NULL ? g_strdup_printf("judged as %s", m->parent) : g_strdup("");
}

static void
print_text(const struct proof_message *m)
{
    static const enum colour colours[PROOF_STATES] = {
        [PROOF_UNRECORDED] = COLOUR_BAD, [PROOF_CONTRARY] = COLOUR_BAD};
    g_autofree char *time = terminal_time(m->time / G_USEC_PER_SEC);
    g_autofree char *from = text_escape(m->from, 100);
    g_autofree char *verdict = text_escape(m->verdict, 40);
    g_autofree char *action = text_escape(m->action, 40);
    g_autofree char *why = explain(m);
    const char *name = proof_state_name(m->state);
    g_autofree char *word =
        is_bad(m->state) ? terminal_colour(colours[m->state], name) : g_strdup(name);
    printf("%s  %-14s %-10s %s%*s verdict=%s action=%s from=%s%s%s\n", time, m->queue_id,
           proof_outcome_name(m->outcome), word, (int)MAX(0, 10 - (int)strlen(name)), "", verdict,
           action, from, *why != '\0' ? ": " : "", why);
}

/* Log lines need not be UTF-8. */
static json_t *
json_text(const char *raw)
{
    if (raw == NULL) {
        return json_null();
    }
    g_autofree char *valid = g_utf8_make_valid(raw, -1);
    return json_string(valid);
}

static void
print_json(const struct proof_message *m)
{
    g_autofree char *why = explain(m);
    json_t *object =
        json_pack("{s:f, s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time",
                  (double)m->time / G_USEC_PER_SEC, "queue_id", m->queue_id, "instance",
                  json_text(m->instance), "state", proof_state_name(m->state), "outcome",
                  proof_outcome_name(m->outcome), "verdict", json_text(m->verdict), "action",
                  json_text(m->action), "cause", json_text(proof_cause_name(m->cause)), "why",
                  json_text(*why == '\0' ? NULL : why), "message_id", json_text(m->message_id),
                  "from", json_text(m->from), "source", json_text(m->source), "service",
                  json_text(m->service), "parent", json_text(m->parent));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void
on_message(const struct proof_message *message, void *data)
{
    struct sums *sums = data;
    sums->states[message->state]++;
    if (!is_shown(sums, message)) {
        return;
    }
    if (sums->json) {
        print_json(message);
    } else {
        print_text(message);
    }
}

static void
sums_json(const struct sums *sums)
{
    json_t *states = json_object();
    for (int i = 0; i < PROOF_STATES; i++) {
        json_object_set_new(states, proof_state_name((enum proof_state)i),
                            json_integer((json_int_t)sums->states[i]));
    }
    json_t *all = json_pack("{s:{s:o, s:I, s:I, s:I, s:I}}", "summary", "messages", states,
                            "refused_commands_temporary", (json_int_t)sums->temporary,
                            "refused_commands_lasting", (json_int_t)sums->lasting, "lines",
                            (json_int_t)sums->lines, "skipped_lines", (json_int_t)sums->skipped);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static void
sums_text(const struct sums *sums)
{
    static const char *const texts[PROOF_STATES] = {
        [PROOF_RECORDED] = "taken with a verdict of Postern",
        [PROOF_UNRECORDED] = "UNRECORDED: taken without a verdict",
        [PROOF_CONTRARY] = "CONTRARY: taken although Postern's answer was no",
        [PROOF_INTERNAL] = "written by Postfix itself (bounces, notices)",
        [PROOF_RELEASED] = "released from the quarantine",
        [PROOF_EARLIER] = "received before the log begins",
        [PROOF_REFUSED] = "refused, so with their senders",
        [PROOF_GIVEN_UP] = "given up by the client before their end",
    };
    printf("\n");
    for (int i = 0; i < PROOF_STATES; i++) {
        if (sums->states[i] > 0 || i <= PROOF_UNRECORDED) {
            printf("%10" G_GUINT64_FORMAT "  %s\n", sums->states[i], texts[i]);
        }
    }
    if (sums->temporary + sums->lasting > 0) {
        printf("%10" G_GUINT64_FORMAT "  commands refused by a milter before there was a message "
               "(%" G_GUINT64_FORMAT " of them for now)\n",
               sums->temporary + sums->lasting, sums->temporary);
    }
}

static int
read_all(struct maillog *log, struct proof *proof, struct sums *sums)
{
    struct maillog_line line;
    g_autofree char *error = NULL;
    int rc;
    while ((rc = maillog_next(log, &line, &error)) > 0) {
        sums->lines++;
        proof_add(proof, &line);
    }
    if (rc < 0) {
        cli_fail("%s", error);
    }
    return rc;
}

static int
prove(struct maillog *log, const char *release, struct sums *sums)
{
    struct proof *proof = proof_new(release, on_message, sums);
    int rc = read_all(log, proof, sums);
    proof_refusals(proof, &sums->temporary, &sums->lasting);
    proof_end(proof);
    sums->skipped = maillog_skipped(log);
    if (sums->json) {
        sums_json(sums);
    } else {
        sums_text(sums);
    }
    if (rc < 0) {
        return CLI_ERROR;
    }
    if (sums->lines == 0 && sums->skipped > 0) {
        return cli_fail("none of the %" G_GUINT64_FORMAT " lines is that of a mail log",
                        sums->skipped);
    }
    return sums->states[PROOF_UNRECORDED] + sums->states[PROOF_CONTRARY] > 0 ? CLI_FOUND : CLI_OK;
}

static gboolean
add_logs(struct maillog *log, char **names, const struct settings *settings)
{
    static char journal[] = JOURNAL;
    char *const otherwise[] = {journal, NULL};
    const struct passwd *daemon = getpwnam(settings->daemon_user);
    g_autofree char *error = NULL;
    int rc = 0;
    for (char *const *name = names == NULL ? otherwise : names; rc == 0 && *name != NULL; name++) {
        if (strcmp(*name, JOURNAL) == 0 || g_str_has_prefix(*name, JOURNAL ":")) {
            const char *dir = strchr(*name, ':');
            rc = maillog_add_journal(log, dir == NULL ? NULL : dir + 1,
                                     daemon == NULL ? 0 : daemon->pw_uid, &error);
        } else {
            rc = maillog_add_file(log, *name, &error);
        }
    }
    if (rc < 0) {
        cli_fail("%s", error);
    }
    return rc == 0;
}

int
cli_prove(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    g_autofree char *since_text = NULL;
    g_autofree char *release = g_strdup(RELEASE_SERVICE);
    g_auto(GStrv) names = NULL;
    struct sums sums = {0};
    gint64 since = 0;
    const GOptionEntry entries[] = {
        {"log", 'l', 0, G_OPTION_ARG_FILENAME_ARRAY, &names,
         "Read this log: a file, also .gz, - or journal (the default)", "FILE"},
        {"since", 's', 0, G_OPTION_ARG_STRING, &since_text,
         "Begin there: 2026-03-01, \"2026-03-01 12:00\", today, 12h, 7d", "TIME"},
        {"release-service", 0, 0, G_OPTION_ARG_STRING, &release,
         "Released mail comes in by the smtpd of this name (" RELEASE_SERVICE ")", "NAME"},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &sums.quiet, "Print only what is not accounted for",
         NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "",
                     "Joins Postfix's log with Postern's lines: each message that Postfix took and "
                     "its verdict.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (since_text != NULL && !when_option("since", since_text, &since, &error)) {
        return cli_fail("%s", error);
    }
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return CLI_ERROR;
    }
    struct maillog *log = maillog_new(since);
    sums.json = cli->json;
    int rc = add_logs(log, names, settings) ? prove(log, release, &sums) : CLI_ERROR;
    maillog_free(log);
    return rc;
}

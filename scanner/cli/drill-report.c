/* SPDX-License-Identifier: GPL-2.0-only */
#include "drill-report.h"

#include <stdarg.h>

#include "terminal.h"

struct leg_view {
    const char *from;
    const char *to;
    const struct drill_leg *leg;
    struct probe_outage outage;
    double seconds; /* of the outage; -1 = it did not end */
};

/* Returns the number of legs that were begun. */
static unsigned
legs_view(const struct drill_report *r, struct leg_view views[2])
{
    const struct drill_machine *m = r->machine;
    unsigned n = 0;
    if (m->away.ordered != 0) {
        views[n++] = (struct leg_view){.from = m->plan.from, .to = m->plan.to, .leg = &m->away};
    }
    if (m->home.ordered != 0) {
        views[n++] = (struct leg_view){.from = m->plan.to, .to = m->plan.from, .leg = &m->home};
    }
    for (unsigned i = 0; i < n; i++) {
        gint64 end = views[i].leg->ended != 0 ? views[i].leg->ended : G_MAXINT64;
        probe_log_outage(r->log, views[i].leg->ordered, end, &views[i].outage);
        views[i].seconds = probe_outage_seconds(&views[i].outage);
    }
    return n;
}

gboolean
drill_report_is_void(const struct drill_report *r)
{
    return r->machine->away.ordered == 0;
}

static void add(GPtrArray *problems, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
add(GPtrArray *problems, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(problems, g_strdup_vprintf(format, args));
    va_end(args);
}

static void
leg_problems(const struct drill_report *r, const struct leg_view *view, GPtrArray *problems)
{
    if (view->seconds < 0) {
        add(problems, "%s to %s: mail was refused and not accepted again", view->from, view->to);
    } else if (view->seconds > r->max_outage) {
        add(problems, "%s to %s: mail was refused for %.1f s, more than %.1f s (--max-outage)",
            view->from, view->to, view->seconds, r->max_outage);
    }
}

static void
probe_problems(const struct drill_report *r, GPtrArray *problems)
{
    struct probe_sums s;
    probe_log_sums(r->log, &s);
    if (s.infected_passed > 0) {
        add(problems, "%u of %u messages with the test virus were accepted", s.infected_passed,
            s.infected);
    }
    if (s.clean_refused > 0) {
        add(problems, "%u of %u clean messages were refused for good", s.clean_refused, s.clean);
    }
    if (s.unwanted > 0) {
        add(problems,
            "%u messages were refused before their content: may %s be written to from "
            "here?",
            s.unwanted, r->recipient);
    }
    if (s.open > 0) {
        add(problems, "%u messages had no answer for good in the end", s.open);
    }
}

static void
trouble_problems(const struct drill_report *r, GPtrArray *problems)
{
    const struct drill_plan *plan = &r->machine->plan;
    unsigned troubles = r->machine->troubles;
    double limit = (double)plan->limit_us / G_USEC_PER_SEC;
    if (troubles & TROUBLE_NOT_SERVED) {
        add(problems, "mail was not served before the drill, so nothing was moved");
    }
    if (troubles & TROUBLE_ORDER) {
        add(problems, "%s", r->order_error != NULL ? r->order_error : "a change was not taken");
    }
    if (troubles & TROUBLE_AWAY) {
        add(problems, "%s did not serve within %.0f s", plan->to, limit);
    }
    if (troubles & TROUBLE_WAKE) {
        add(problems, "%s did not become ready within %.0f s, so the group was not moved back",
            plan->from, limit);
    }
    if (troubles & TROUBLE_HOME) {
        add(problems, "%s did not serve again within %.0f s", plan->from, limit);
    }
    if (troubles & TROUBLE_WANDERED) {
        add(problems, "the group did not stay where it was when the drill was over");
    }
    if (troubles & TROUBLE_INTERRUPTED) {
        add(problems, "the drill was interrupted");
    }
}

char **
drill_report_problems(const struct drill_report *r)
{
    struct leg_view views[2];
    GPtrArray *problems = g_ptr_array_new();
    unsigned n = legs_view(r, views);
    trouble_problems(r, problems);
    for (unsigned i = 0; i < n; i++) {
        leg_problems(r, &views[i], problems);
    }
    probe_problems(r, problems);
    for (char **text = r->new_failures; text != NULL && *text != NULL; text++) {
        add(problems, "failed meanwhile: %s", *text);
    }
    if (r->left != NULL) {
        add(problems, "%s", r->left);
    }
    g_ptr_array_add(problems, NULL);
    return (char **)g_ptr_array_free(problems, FALSE);
}

/* "1.9 s" from ORDERED to MOMENT; "-" when that did not come. */
static char *
after(gint64 ordered, gint64 moment)
{
    return moment == 0 ? g_strdup("-")
                       : g_strdup_printf("%.1f s", (double)(moment - ordered) / G_USEC_PER_SEC);
}

static char *
outage_text(const struct leg_view *view)
{
    return view->outage.refused_at == 0 ? g_strdup("none")
           : view->seconds < 0          ? g_strdup("no end")
                                        : g_strdup_printf("%.1f s", view->seconds);
}

static char **
leg_row(const struct leg_view *view)
{
    const unsigned *ends = view->outage.ends;
    GPtrArray *row = g_ptr_array_new();
    g_ptr_array_add(row, g_strdup_printf("%s to %s", view->from, view->to));
    g_ptr_array_add(row, after(view->leg->ordered, view->leg->promoted));
    g_ptr_array_add(row, after(view->leg->ordered, view->leg->moved));
    g_ptr_array_add(row, outage_text(view));
    g_ptr_array_add(row, after(view->leg->ordered, view->outage.accepted_at));
    g_ptr_array_add(row, g_strdup_printf("%u", ends[PROBE_LATER]));
    g_ptr_array_add(row, g_strdup_printf("%u", ends[PROBE_NO_CONTACT] + ends[PROBE_BROKEN]));
    g_ptr_array_add(row, g_strdup_printf("%u", ends[PROBE_UNCERTAIN]));
    g_ptr_array_add(row, NULL);
    return (char **)g_ptr_array_free(row, FALSE);
}

static void
sums_print(const struct drill_report *r, FILE *out)
{
    struct probe_sums s;
    probe_log_sums(r->log, &s);
    if (s.clean > 0) {
        fprintf(out, "clean messages:          %u of %u accepted\n", s.clean_accepted, s.clean);
    } else {
        fprintf(out, "clean messages:          none sent, for there was no --recipient\n");
    }
    fprintf(out, "with the test virus:     %u of %u %s\n", s.infected_refused, s.infected,
            r->log->infected_taken ? "taken, as on_infected says: their fate is not seen from here"
                                   : "refused");
    if (s.twice > 0) {
        fprintf(out, "may have arrived twice:  %u, whose first answer was lost\n", s.twice);
    }
}

void
drill_report_print(const struct drill_report *r, FILE *out)
{
    static const char *const titles[] = {"Move", "Promoted",   "Group there", "Outage", "Accepted",
                                         "451",  "No contact", "No answer",   NULL};
    struct leg_view views[2];
    unsigned n = legs_view(r, views);
    g_auto(GStrv) problems = drill_report_problems(r);
    fprintf(out, "\n");
    if (n > 0) {
        struct table *table = table_new(titles);
        for (unsigned i = 0; i < n; i++) {
            table_add(table, leg_row(&views[i]));
        }
        table_print(table, out);
        fprintf(out, "\n");
        sums_print(r, out);
    }
    for (char **text = problems; *text != NULL; text++) {
        g_autofree char *word = terminal_colour(COLOUR_BAD, "wrong:");
        fprintf(out, "%s %s\n", word, *text);
    }
    if (*problems == NULL) {
        g_autofree char *word = terminal_colour(COLOUR_GOOD, "All is well:");
        fprintf(out, "%s mail was refused for %.1f s at most (limit %.1f s)\n", word,
                MAX(n > 0 ? views[0].seconds : 0, n > 1 ? views[1].seconds : 0), r->max_outage);
    }
}

/* Unix seconds of a moment; null when it did not come. */
static json_t *
moment_json(const struct drill_report *r, gint64 moment)
{
    return moment == 0 ? json_null() : json_real((double)(moment + r->wall_us) / G_USEC_PER_SEC);
}

static json_t *
leg_json(const struct drill_report *r, const struct leg_view *view)
{
    const struct drill_leg *leg = view->leg;
    json_t *ends = json_object();
    for (int i = 0; i < PROBE_ENDS; i++) {
        json_object_set_new(ends, probe_end_name((enum probe_end)i),
                            json_integer(view->outage.ends[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o}", "from", view->from,
                     "to", view->to, "ordered", moment_json(r, leg->ordered), "promoted",
                     moment_json(r, leg->promoted), "group_moved", moment_json(r, leg->moved),
                     "refused_from", moment_json(r, view->outage.refused_at), "accepted",
                     moment_json(r, view->outage.accepted_at), "outage_seconds",
                     view->seconds < 0 ? json_null() : json_real(view->seconds), "attempts",
                     (int)view->outage.tries, "good", (int)view->outage.good, "not_good", ends);
}

static json_t *
sums_json(const struct drill_report *r)
{
    struct probe_sums s;
    probe_log_sums(r->log, &s);
    return json_pack("{s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i, s:b}, s:i, s:i, s:i}", "clean", "sent",
                     (int)s.clean, "accepted", (int)s.clean_accepted, "refused",
                     (int)s.clean_refused, "infected", "sent", (int)s.infected, "as_they_should",
                     (int)s.infected_refused, "passed", (int)s.infected_passed, "policy_takes_them",
                     r->log->infected_taken, "unwanted", (int)s.unwanted, "open", (int)s.open,
                     "perhaps_twice", (int)s.twice);
}

json_t *
drill_report_json(const struct drill_report *r)
{
    struct leg_view views[2];
    unsigned n = legs_view(r, views);
    g_auto(GStrv) problems = drill_report_problems(r);
    json_t *legs = json_array();
    json_t *texts = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_array_append_new(legs, leg_json(r, &views[i]));
    }
    for (char **text = problems; *text != NULL; text++) {
        json_array_append_new(texts, json_string(*text));
    }
    return json_pack("{s:b, s:s, s:s, s:s, s:s, s:f, s:o, s:o, s:o}", "ok", *problems == NULL,
                     "group", r->group, "server", r->server, "recipient", r->recipient, "run",
                     r->run, "max_outage", r->max_outage, "moves", legs, "probes", sums_json(r),
                     "problems", texts);
}

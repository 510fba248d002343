/* SPDX-License-Identifier: GPL-2.0-only */
/* A drill's steps, its account of the probes, and its report: all without a cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "cib.h"
#include "drill-machine.h"
#include "drill-report.h"
#include "drill-rule.h"

#define S G_USEC_PER_SEC

/* Not 0, which means "never" in a leg. */
#define START (1000 * S)

static const struct drill_plan plan = {
    .from = "n1", .to = "n2", .warm_us = 4 * S, .rest_us = 4 * S, .limit_us = 60 * S};

/* A look SECONDS after the start. */
static enum drill_order
look(struct drill_machine *m, double seconds, const char *node, unsigned good, unsigned interrupts)
{
    const struct drill_seen seen = {.now = START + (gint64)(seconds * S),
                                    .group = node,
                                    .promoted = node,
                                    .from_ready = TRUE,
                                    .good = good,
                                    .interrupts = interrupts};
    return drill_step(m, &seen);
}

static struct drill_machine
moved_away(void)
{
    struct drill_machine m;
    drill_begin(&m, &plan, START);
    assert_int_equal(look(&m, 1, "n1", 9, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 5, "n1", 9, 0), ORDER_GO);
    return m;
}

static void
test_there_and_back(void **state)
{
    struct drill_machine m = moved_away();
    (void)state;
    assert_int_equal(look(&m, 5.5, NULL, 0, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 6.5, "n2", 0, 0), ORDER_WAIT);
    assert_int_equal(m.phase, DRILL_AWAY); /* nobody is served yet */
    assert_int_equal(look(&m, 7, "n2", 3, 0), ORDER_WAIT);
    assert_int_equal(m.phase, DRILL_THERE);
    assert_int_equal(look(&m, 9, "n2", 9, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 11, "n2", 9, 0), ORDER_WAIT);
    assert_int_equal(m.phase, DRILL_WAKE);
    assert_int_equal(look(&m, 11.3, "n2", 9, 0), ORDER_RETURN);
    assert_int_equal(look(&m, 13, "n1", 3, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 17, "n1", 9, 0), ORDER_CLEAN);
    assert_int_equal(look(&m, 17.3, "n1", 9, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 19, "n1", 9, 0), ORDER_END);
    assert_int_equal(m.troubles, 0);
    assert_int_equal(m.away.promoted, START + 6.5 * S);
    assert_int_equal(m.away.ended, m.home.ordered);
    assert_int_equal(m.home.ended, START + 17 * S);
}

static void
test_stay(void **state)
{
    struct drill_machine m = moved_away();
    (void)state;
    m.plan.stay = TRUE;
    (void)look(&m, 7, "n2", 3, 0);
    assert_int_equal(look(&m, 12, "n2", 9, 0), ORDER_CLEAN);
    assert_int_equal(look(&m, 15, "n2", 9, 0), ORDER_END);
    assert_int_equal(m.troubles, 0);
    assert_int_equal(m.home.ordered, 0);
}

/* After standby the first node has to load its signatures: it is not returned to before. */
static void
test_standby_waits_for_readiness(void **state)
{
    struct drill_machine m = moved_away();
    struct drill_seen loading = {.group = "n2", .promoted = "n2", .good = 9};
    (void)state;
    m.plan.standby = TRUE;
    (void)look(&m, 7, "n2", 3, 0);
    assert_int_equal(look(&m, 11, "n2", 9, 0), ORDER_WAKE);
    loading.now = START + 30 * S;
    assert_int_equal(drill_step(&m, &loading), ORDER_WAIT);
    loading.now = START + 72 * S;
    assert_int_equal(drill_step(&m, &loading), ORDER_CLEAN);
    assert_int_equal(m.troubles, TROUBLE_WAKE);
}

static void
test_not_served_before(void **state)
{
    struct drill_machine m;
    (void)state;
    drill_begin(&m, &plan, START);
    assert_int_equal(look(&m, 5, "n1", 4, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 35, "n1", 0, 0), ORDER_END);
    assert_int_equal(m.troubles, TROUBLE_NOT_SERVED);
    assert_int_equal(m.away.ordered, 0);
}

static void
test_not_there_in_time(void **state)
{
    struct drill_machine m = moved_away();
    (void)state;
    assert_int_equal(look(&m, 64, "n1", 0, 0), ORDER_WAIT);
    assert_int_equal(look(&m, 65, "n1", 0, 0), ORDER_WAIT);
    assert_int_equal(m.troubles, TROUBLE_AWAY);
    assert_int_equal(look(&m, 66, "n1", 0, 0), ORDER_RETURN);
    assert_int_equal(look(&m, 126, NULL, 0, 0), ORDER_CLEAN);
    assert_int_equal(look(&m, 130, NULL, 0, 0), ORDER_END);
    assert_int_equal(m.troubles, TROUBLE_AWAY | TROUBLE_HOME);
}

static void
test_interruptions(void **state)
{
    struct drill_machine m;
    (void)state;
    drill_begin(&m, &plan, START);
    assert_int_equal(look(&m, 1, "n1", 9, 1), ORDER_END); /* nothing was changed */
    m = moved_away();
    assert_int_equal(look(&m, 5.5, NULL, 0, 1), ORDER_WAIT);
    assert_int_equal(look(&m, 6, NULL, 0, 1), ORDER_RETURN);
    assert_int_equal(look(&m, 6.5, NULL, 0, 1), ORDER_WAIT);
    assert_int_equal(look(&m, 7, NULL, 0, 2), ORDER_CLEAN);
    assert_int_equal(look(&m, 7.3, NULL, 0, 2), ORDER_END);
    assert_int_equal(m.troubles, TROUBLE_INTERRUPTED);
}

static void
test_interrupted_there_goes_home(void **state)
{
    struct drill_machine m = moved_away();
    (void)state;
    (void)look(&m, 7, "n2", 3, 0);
    assert_int_equal(look(&m, 8, "n2", 5, 1), ORDER_WAIT);
    assert_int_equal(look(&m, 8.3, "n2", 5, 1), ORDER_RETURN);
    assert_int_equal(look(&m, 10, "n1", 3, 1), ORDER_WAIT);
    assert_int_equal(look(&m, 10.3, "n1", 3, 1), ORDER_WAIT);
    assert_int_equal(m.phase, DRILL_AFTER);
    assert_int_equal(look(&m, 11, NULL, 0, 1), ORDER_WAIT); /* it had not yet left */
    assert_int_equal(m.phase, DRILL_HOME);
    assert_int_equal(look(&m, 12, "n1", 3, 1), ORDER_WAIT);
    assert_int_equal(look(&m, 16, "n1", 9, 1), ORDER_CLEAN);
    assert_int_equal(look(&m, 19, "n1", 9, 1), ORDER_END);
    assert_int_equal(m.troubles, TROUBLE_INTERRUPTED);
}

static void
test_order_refused(void **state)
{
    struct drill_machine m = moved_away();
    const struct drill_seen seen = {.now = START + 6 * S, .group = "n1", .failed = TRUE};
    (void)state;
    assert_int_equal(drill_step(&m, &seen), ORDER_CLEAN); /* it may have been taken all the same */
    assert_int_equal(m.troubles, TROUBLE_ORDER);
}

static void
test_wandered(void **state)
{
    struct drill_machine m = moved_away();
    (void)state;
    m.plan.stay = TRUE;
    (void)look(&m, 7, "n2", 3, 0);
    (void)look(&m, 12, "n2", 9, 0);
    assert_int_equal(look(&m, 15, "n1", 9, 0), ORDER_END);
    assert_int_equal(m.troubles, TROUBLE_WANDERED);
}

/* The account */

static void
note(struct probe_log *log, unsigned number, gboolean infected, double begun, double took,
     enum probe_end end)
{
    struct probe_try *try = g_new0(struct probe_try, 1);
    try->number = number;
    try->infected = infected;
    try->begun = START + (gint64)(begun * S);
    try->ended = try->begun + (gint64)(took * S);
    try->end = end;
    probe_log_add(log, try);
}

static struct probe_log *
example(void)
{
    struct probe_log *log = probe_log_new(FALSE);
    note(log, 0, TRUE, 0, 0.1, PROBE_REFUSED);
    note(log, 1, FALSE, 1, 0.1, PROBE_ACCEPTED);
    note(log, 2, FALSE, 5.2, 0, PROBE_NO_CONTACT);
    note(log, 3, TRUE, 5.6, 0.1, PROBE_LATER);
    note(log, 4, FALSE, 5.1, 2, PROBE_UNCERTAIN);
    note(log, 5, FALSE, 7.5, 0.1, PROBE_ACCEPTED);
    note(log, 2, FALSE, 7.7, 0.1, PROBE_ACCEPTED);
    note(log, 3, TRUE, 7.8, 0.2, PROBE_REFUSED);
    note(log, 4, FALSE, 8, 0.1, PROBE_ACCEPTED);
    return log;
}

static void
test_outage(void **state)
{
    struct probe_log *log = example();
    struct probe_outage o;
    (void)state;
    probe_log_outage(log, START + 5 * S, G_MAXINT64, &o);
    assert_int_equal(o.tries, 7);
    assert_int_equal(o.good, 4);
    assert_int_equal(o.ends[PROBE_LATER], 1);
    assert_int_equal(o.ends[PROBE_NO_CONTACT], 1);
    assert_int_equal(o.ends[PROBE_UNCERTAIN], 1);
    assert_int_equal(o.refused_at, START + (gint64)(5.1 * S));
    assert_int_equal(o.accepted_at, START + (gint64)(7.6 * S));
    assert_true(probe_outage_seconds(&o) > 2.49 && probe_outage_seconds(&o) < 2.51);
    probe_log_outage(log, START, START + 5 * S, &o);
    assert_int_equal(o.refused_at, 0);
    assert_true(probe_outage_seconds(&o) == 0);
    note(log, 6, FALSE, 9, 0, PROBE_LATER);
    probe_log_outage(log, START + 5 * S, G_MAXINT64, &o);
    assert_true(probe_outage_seconds(&o) == -1);
    probe_log_free(log);
}

static void
test_good_since(void **state)
{
    struct probe_log *log = example();
    (void)state;
    assert_int_equal(probe_log_good_since(log, START), 4);
    assert_int_equal(probe_log_good_since(log, START + (gint64)(7.7 * S)), 3);
    note(log, 7, TRUE, 9, 0, PROBE_ACCEPTED); /* let through: not good */
    assert_int_equal(probe_log_good_since(log, START), 0);
    probe_log_free(log);
}

static void
test_sums(void **state)
{
    struct probe_log *log = example();
    struct probe_sums s;
    (void)state;
    note(log, 6, TRUE, 9, 0, PROBE_ACCEPTED);
    note(log, 7, FALSE, 9, 0, PROBE_REFUSED);
    note(log, 8, FALSE, 9, 0, PROBE_UNWANTED);
    note(log, 9, FALSE, 9, 0, PROBE_LATER);
    probe_log_sums(log, &s);
    assert_int_equal(s.clean, 7);
    assert_int_equal(s.clean_accepted, 4);
    assert_int_equal(s.clean_refused, 1);
    assert_int_equal(s.infected, 3);
    assert_int_equal(s.infected_refused, 2);
    assert_int_equal(s.infected_passed, 1);
    assert_int_equal(s.unwanted, 1);
    assert_int_equal(s.open, 1);
    assert_int_equal(s.twice, 1);
    probe_log_free(log);
}

/* Where the policy takes infected mail and delivers nothing, 250 is the right answer. */
static void
test_sums_where_infected_is_taken(void **state)
{
    struct probe_log *log = probe_log_new(TRUE);
    struct probe_sums s;
    (void)state;
    note(log, 0, TRUE, 0, 0, PROBE_ACCEPTED);
    probe_log_sums(log, &s);
    assert_int_equal(s.infected_refused, 1);
    assert_int_equal(s.infected_passed, 0);
    assert_int_equal(probe_log_good_since(log, 0), 1);
    probe_log_free(log);
}

/* The report */

static char *
problems_of(const struct drill_machine *m, const struct probe_log *log, double max_outage)
{
    char *none[] = {NULL};
    const struct drill_report report = {.machine = m,
                                        .log = log,
                                        .group = "mail",
                                        .server = "192.0.2.1",
                                        .recipient = "a@b",
                                        .run = "1",
                                        .max_outage = max_outage,
                                        .new_failures = none};
    g_auto(GStrv) problems = drill_report_problems(&report);
    json_t *object = drill_report_json(&report);
    assert_non_null(object);
    assert_int_equal(json_is_true(json_object_get(object, "ok")), *problems == NULL);
    json_decref(object);
    return g_strjoinv("\n", problems);
}

static struct drill_machine
whole(void)
{
    struct drill_machine m;
    drill_begin(&m, &plan, START);
    m.away = (struct drill_leg){.ordered = START + 5 * S, .ended = START + 20 * S};
    m.home = (struct drill_leg){.ordered = START + 20 * S, .ended = START + 30 * S};
    return m;
}

static void
test_report_limits(void **state)
{
    struct drill_machine m = whole();
    struct probe_log *log = example();
    (void)state;
    g_autofree char *well = problems_of(&m, log, 3);
    assert_string_equal(well, "");
    g_autofree char *over = problems_of(&m, log, 2);
    assert_non_null(strstr(over, "2.5 s, more than 2.0 s"));
    note(log, 6, TRUE, 9, 0, PROBE_ACCEPTED);
    note(log, 7, FALSE, 9, 0, PROBE_LATER);
    g_autofree char *bad = problems_of(&m, log, 30);
    assert_non_null(strstr(bad, "1 of 3 messages with the test virus were accepted"));
    assert_non_null(strstr(bad, "1 messages had no answer for good"));
    assert_non_null(strstr(bad, "not accepted again"));
    probe_log_free(log);
}

static void
test_report_troubles(void **state)
{
    struct drill_machine m = whole();
    struct probe_log *log = example();
    (void)state;
    m.troubles = TROUBLE_AWAY | TROUBLE_INTERRUPTED;
    g_autofree char *text = problems_of(&m, log, 30);
    assert_non_null(strstr(text, "n2 did not serve within 60 s"));
    assert_non_null(strstr(text, "interrupted"));
    probe_log_free(log);
}

/* What is left of a drill is found in the configuration, and nothing else is taken for it. */
static void
test_left(void **state)
{
    static const char text[] =
        "<cib><configuration><constraints>"
        "<rsc_location id='cli-prefer-mail' rsc='mail' node='n1' score='INFINITY'/>"
        "<rsc_location id='postern-drill-mail' rsc='mail'><rule id='r' score='INFINITY'>"
        "<date_expression id='d' operation='lt' end='2026-03-01 12:00:00Z'/></rule>"
        "</rsc_location></constraints></configuration><status><node_state uname='n2'>"
        "<transient_attributes id='2'><instance_attributes id='s'>"
        "<nvpair id='x' name='postern-drill' value='1'/></instance_attributes>"
        "</transient_attributes></node_state></status></cib>";
    g_autoptr(cib_doc_t) doc = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(cib_parse(text, &doc, &error), 0);
    g_auto(GStrv) left = drill_rule_left(doc);
    assert_int_equal(g_strv_length(left), 2);
    assert_non_null(strstr(left[0], "postern-drill-mail"));
    assert_non_null(strstr(left[0], "2026-03-01 12:00:00Z"));
    assert_non_null(strstr(left[1], "n2"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_stay),
        cmocka_unit_test(test_standby_waits_for_readiness),
        cmocka_unit_test(test_not_served_before),
        cmocka_unit_test(test_not_there_in_time),
        cmocka_unit_test(test_interruptions),
        cmocka_unit_test(test_interrupted_there_goes_home),
        cmocka_unit_test(test_order_refused),
        cmocka_unit_test(test_wandered),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_good_since),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_sums_where_infected_is_taken),
        cmocka_unit_test(test_report_limits),
        cmocka_unit_test(test_report_troubles),
        cmocka_unit_test(test_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

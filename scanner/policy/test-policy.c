/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "policy.h"

/* What a worker may say, and what comes of it. */
static const struct {
    bool none; /* no facts at all */
    bool incomplete;
    const char *error;
    const char *detection;
    const char *fault;
    const char *detail; /* of something unscanned */
    enum cause cause;
    enum verdict verdict;
    enum action action;
    const char *reply;  /* its beginning; NULL = none */
    const char *reason; /* whole */
} cases[] = {
    {.verdict = VERDICT_CLEAN, .action = ACTION_ACCEPT, .reason = ""},
    {.detection = "Win.Test.EICAR_HDB-1",
     .verdict = VERDICT_INFECTED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: virus found (Win.Test.EICAR_HDB-1)",
     .reason = "Win.Test.EICAR_HDB-1"},
    {.detection = "Evil\r\n250 ok %s \\ \xff",
     .verdict = VERDICT_INFECTED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: virus found (Evil__250 ok _s _ ___)",
     .reason = "Evil__250 ok _s _ ___"},
    /* What was found is certain, whatever else went wrong. */
    {.detection = "V",
     .fault = "mkdir: No space left on device",
     .incomplete = true,
     .verdict = VERDICT_INFECTED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 ",
     .reason = "V"},
    {.detail = "Heuristics.Encrypted.Zip",
     .cause = CAUSE_ENCRYPTED,
     .verdict = VERDICT_UNSCANNED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: it has content that is protected by a password",
     .reason = "encrypted: Heuristics.Encrypted.Zip"},
    {.detail = "Heuristics.Limits.Exceeded.MaxRecursion",
     .cause = CAUSE_LIMIT,
     .verdict = VERDICT_UNSCANNED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: it is too large or too deeply nested",
     .reason = "limit: Heuristics.Limits.Exceeded.MaxRecursion"},
    {.detail = "S/MIME",
     .cause = CAUSE_END_TO_END,
     .verdict = VERDICT_UNSCANNED,
     .action = ACTION_ACCEPT,
     .reason = "end-to-end encrypted: S/MIME"},
    {.detail = "RAR archive",
     .cause = CAUSE_UNSUPPORTED,
     .verdict = VERDICT_UNSCANNED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: it has an attachment of a kind",
     .reason = "unsupported: RAR archive"},
    {.detail = "ZIP",
     .cause = CAUSE_DAMAGED,
     .verdict = VERDICT_UNSCANNED,
     .action = ACTION_QUARANTINE,
     .reply = "550 5.7.1 Message refused: it has an attachment that is damaged",
     .reason = "damaged: ZIP"},
    {.fault = "read: Input/output error",
     .verdict = VERDICT_ERROR,
     .action = ACTION_TEMPFAIL,
     .reply = "451 4.7.1 ",
     .reason = "read: Input/output error"},
    {.incomplete = true,
     .verdict = VERDICT_ERROR,
     .action = ACTION_TEMPFAIL,
     .reply = "451 4.7.1 ",
     .reason = "the scan was not completed"},
    {.none = true,
     .error = "no worker is ready\n",
     .verdict = VERDICT_ERROR,
     .action = ACTION_TEMPFAIL,
     .reply = "451 4.7.1 ",
     .reason = "no worker is ready_"},
    {.none = true,
     .verdict = VERDICT_ERROR,
     .action = ACTION_TEMPFAIL,
     .reply = "451 4.7.1 ",
     .reason = "no result"},
};

static struct facts *
facts_of(size_t i)
{
    struct facts *facts = facts_new();
    facts->complete = !cases[i].incomplete;
    if (cases[i].detection != NULL) {
        facts_add_detection(facts, cases[i].detection);
    }
    if (cases[i].fault != NULL) {
        facts_add_fault(facts, cases[i].fault);
    }
    if (cases[i].detail != NULL) {
        facts_add_unscanned(facts, cases[i].cause, cases[i].detail, "1");
    }
    return facts;
}

static void
decide(size_t i, struct decision *decision)
{
    g_autoptr(facts_t) facts = cases[i].none ? NULL : facts_of(i);
    policy_decide(NULL, facts, cases[i].error, decision);
}

/* One line of printable ASCII that a reply may be (RFC 5321, 4.5.3.1.5). */
static void
check_line(const char *text)
{
    assert_true(strlen(text) <= 510);
    for (const char *p = text; *p != '\0'; p++) {
        assert_true(g_ascii_isprint(*p) && *p != '%');
    }
}

static void
test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct decision d;
        decide(i, &d);
        assert_int_equal(d.verdict, cases[i].verdict);
        assert_int_equal(d.action, cases[i].action);
        assert_string_equal(d.reason, cases[i].reason);
        assert_int_equal(d.reply != NULL, cases[i].reply != NULL);
        if (d.reply != NULL) {
            g_autofree char *begin = g_strndup(d.reply, strlen(cases[i].reply));
            assert_string_equal(begin, cases[i].reply);
            check_line(d.reply);
        }
        decision_clear(&d);
    }
}

/* All of many, each at its longest: the reply and the reason stay lines. */
static void
test_long_names(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    struct decision d;
    (void)state;
    facts->complete = true;
    for (int i = 0; i < 30; i++) {
        g_autofree char *name = g_strdup_printf("%d%*s", i, 900, "x");
        facts_add_detection(facts, name);
        facts_add_unscanned(facts, CAUSE_LIMIT, name, "1");
    }
    policy_decide(NULL, facts, NULL, &d);
    check_line(d.reply);
    check_line(d.reason);
    assert_non_null(strstr(d.reason, " and 25 more"));
    decision_clear(&d);
}

/* What was not described was scanned all the same. */
static void
test_too_many_parts(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    struct decision d;
    (void)state;
    facts->complete = true;
    facts->parts_total = FACTS_PARTS_MAX + 1;
    policy_decide(NULL, facts, NULL, &d);
    assert_int_equal(d.verdict, VERDICT_CLEAN);
    assert_int_equal(d.action, ACTION_ACCEPT);
    decision_clear(&d);
}

static void
test_store_failed(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (int full = 0; full < 2; full++) {
            struct decision d;
            if (cases[i].action != ACTION_QUARANTINE) {
                continue;
            }
            bool reject = full && cases[i].verdict == VERDICT_INFECTED;
            decide(i, &d);
            policy_store_failed(&d, full);
            assert_int_equal(d.action, reject ? ACTION_REJECT : ACTION_TEMPFAIL);
            assert_int_equal(strncmp(d.reply, reject ? "550 " : "451 ", 4), 0);
            assert_int_equal(d.verdict, cases[i].verdict);
            check_line(d.reply);
            decision_clear(&d);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_too_many_parts),
        cmocka_unit_test(test_store_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

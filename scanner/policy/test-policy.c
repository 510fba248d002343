/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "policy.h"
#include "rule.h"

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
     .action = ACTION_TAG,
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

static struct rule *
rule_add(struct settings *settings, const char *name)
{
    struct rule *rule = rule_new(name);
    g_ptr_array_add(settings->rules, rule);
    return rule;
}

static void
rule_say(struct rule *rule, enum situation situation, enum action action)
{
    rule->says[situation] = true;
    rule->actions[situation] = action;
}

static struct settings *
settings_make(void)
{
    struct settings *settings = g_new0(struct settings, 1);
    settings->rules = g_ptr_array_new_with_free_func(rule_free);
    settings->on_infected = ACTION_QUARANTINE;
    settings->on_encrypted = ACTION_TAG;
    settings->on_limit = ACTION_REPLACE;
    settings->on_defect = ACTION_ACCEPT;
    settings->on_error = ACTION_TEMPFAIL;
    settings->on_emptied = ACTION_DISCARD;
    return settings;
}

static void
settings_drop(struct settings *settings)
{
    g_ptr_array_unref(settings->rules);
    g_free(settings);
}

static struct envelope *
envelope_make(const char *sender, const char *one, const char *two)
{
    struct envelope *e = envelope_new();
    e->sender = g_strdup(sender);
    e->client_name = g_strdup("Mail.Example.org");
    e->client_addr = g_strdup("IPv6:2001:db8::7");
    e->auth_user = g_strdup("jo");
    g_ptr_array_add(e->recipients, g_strdup(one));
    if (two != NULL) {
        g_ptr_array_add(e->recipients, g_strdup(two));
    }
    return e;
}

static struct facts *
facts_infected(void)
{
    struct facts *facts = facts_new();
    facts->complete = true;
    facts_add_detection(facts, "V");
    return facts;
}

static void
expect_mail(const struct settings *settings, const struct envelope *envelope,
            const struct facts *facts, enum action action, const char *rule)
{
    struct decision d;
    policy_decide_mail(settings, envelope, facts, NULL, &d);
    assert_int_equal(d.action, action);
    assert_int_equal(d.reply != NULL, action >= ACTION_QUARANTINE);
    if (rule != NULL) {
        assert_string_equal(d.rule, rule);
    } else {
        assert_null(d.rule);
    }
    decision_clear(&d);
}

/* For each recipient the first that fits; for all together the strictest. */
static void
test_rules(void **state)
{
    struct settings *settings = settings_make();
    g_autoptr(envelope_t) one = envelope_make("a@x.example", "Boss@LAB.test", NULL);
    g_autoptr(envelope_t) two = envelope_make("a@x.example", "boss@lab.test", "any@lab.test");
    g_autoptr(envelope_t) third = envelope_make("a@x.example", "any@lab.test", "far@else.test");
    g_autoptr(facts_t) facts = facts_infected();
    static char boss[] = "boss@*", lab[] = "lab.test";
    static char *for_boss[] = {boss, NULL}, *for_lab[] = {lab, NULL};
    (void)state;
    struct rule *first = rule_add(settings, "boss");
    struct rule *second = rule_add(settings, "lab");
    first->recipients = g_strdupv(for_boss);
    rule_say(first, ON_INFECTED, ACTION_DISCARD);
    second->recipients = g_strdupv(for_lab);
    rule_say(second, ON_INFECTED, ACTION_REPLACE);
    expect_mail(settings, one, facts, ACTION_DISCARD, "boss");
    expect_mail(settings, two, facts, ACTION_DISCARD, "boss");
    expect_mail(settings, third, facts, ACTION_QUARANTINE, NULL);
    rule_say(second, ON_INFECTED, ACTION_TEMPFAIL);
    expect_mail(settings, two, facts, ACTION_TEMPFAIL, "lab");
    first->says[ON_INFECTED] = false; /* then as outside, not as in the next that fits */
    expect_mail(settings, one, facts, ACTION_QUARANTINE, NULL);
    settings_drop(settings);
}

static void
test_rule_conditions(void **state)
{
    static const struct {
        size_t list;
        const char *pattern;
        bool fits;
    } conditions[] = {
        {offsetof(struct rule, senders), "X.example", true},
        {offsetof(struct rule, senders), "*.example", true},
        {offsetof(struct rule, senders), "example", false},
        {offsetof(struct rule, senders), "a@x.exampl", false},
        {offsetof(struct rule, senders), "A@X.*", true},
        {offsetof(struct rule, senders), "<>", false},
        {offsetof(struct rule, recipients), "b?@lab.test", true},
        {offsetof(struct rule, users), "J*", true},
        {offsetof(struct rule, users), "joe", false},
        {offsetof(struct rule, clients), "2001:db8::/32", true},
        {offsetof(struct rule, clients), "192.0.2.0/24", false},
        {offsetof(struct rule, clients), "*.example.org", true},
        {offsetof(struct rule, clients), "example.org", false},
    };
    g_autoptr(envelope_t) e = envelope_make("a@x.example", "bo@lab.test", NULL);
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(conditions); i++) {
        struct rule *rule = rule_new("r");
        char **list = g_new0(char *, 2);
        list[0] = g_strdup(conditions[i].pattern);
        *(char ***)(void *)((char *)rule + conditions[i].list) = list;
        if (rule_fits(rule, e, "bo@lab.test") != conditions[i].fits) {
            fail_msg("%s", conditions[i].pattern);
        }
        rule_free(rule);
    }
    g_autoptr(envelope_t) bounce = envelope_make("", "bo@lab.test", NULL);
    struct rule *rule = rule_new("null");
    rule->senders = g_strsplit("<>", ",", 0);
    assert_true(rule_fits(rule, bounce, "bo@lab.test"));
    rule->has_direction = true;
    rule->direction = DIRECTION_SUBMISSION;
    assert_false(rule_fits(rule, bounce, "bo@lab.test"));
    rule_free(rule);
}

/* One mailbox, written in all the ways that an MTA takes for it. */
static void
test_spellings(void **state)
{
    static const char *const spellings[] = {
        "boss@lab.test",     "BOSS@Lab.Test.",      "\"boss\"@lab.test",
        "b\\oss@lab.test",   "\"b\\oss\"@lab.test", "@relay.test:boss@lab.test",
        "bo\"ss\"@lab.test",
    };
    static const char *const others[] = {"boss", "boss@lab.test.org", "\"boss@lab.test\"@x.test",
                                         "\\\"boss@lab.test"};
    static char boss[] = "boss@lab.test";
    static char *patterns[] = {boss, NULL};
    g_autoptr(envelope_t) e = envelope_make("a@x.example", "any@lab.test", NULL);
    struct rule *rule = rule_new("boss");
    (void)state;
    rule->recipients = g_strdupv(patterns);
    for (size_t i = 0; i < G_N_ELEMENTS(spellings); i++) {
        if (!rule_fits(rule, e, spellings[i])) {
            fail_msg("%s", spellings[i]);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        if (rule_fits(rule, e, others[i])) {
            fail_msg("%s", others[i]);
        }
    }
    rule_free(rule);
}

/* Several things the matter: the strictest action, and the words for that. */
static void
test_several_situations(void **state)
{
    struct settings *settings = settings_make();
    struct decision d;
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    facts->complete = true;
    facts_add_defect(facts, "duplicate-header", "");
    policy_decide_mail(settings, NULL, facts, NULL, &d);
    assert_int_equal(d.action, ACTION_ACCEPT);
    assert_int_equal(d.verdict, VERDICT_CLEAN);
    assert_string_equal(d.reason, "defect: duplicate-header");
    decision_clear(&d);
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP", "1");
    expect_mail(settings, NULL, facts, ACTION_TAG, NULL);
    facts_add_unscanned(facts, CAUSE_LIMIT, "MaxFiles", "2");
    policy_decide_mail(settings, NULL, facts, NULL, &d);
    assert_int_equal(d.action, ACTION_REPLACE);
    assert_int_equal(d.replacing, 1U << ON_LIMIT);
    policy_emptied(settings, NULL, &d);
    assert_int_equal(d.action, ACTION_DISCARD);
    assert_null(d.reply);
    decision_clear(&d);
    policy_decide_mail(settings, NULL, facts, NULL, &d);
    policy_replace_failed(&d, "not mapped");
    assert_int_equal(d.action, ACTION_QUARANTINE);
    assert_string_equal(d.reason, "encrypted: ZIP, limit: MaxFiles (not mapped)");
    assert_memory_equal(d.reply, "550 5.7.1 ", 10);
    decision_clear(&d);
    facts_add_detection(facts, "V");
    policy_decide_mail(settings, NULL, facts, NULL, &d);
    assert_int_equal(d.action, ACTION_QUARANTINE);
    assert_string_equal(d.reason, "V");
    decision_clear(&d);
    settings_drop(settings);
}

/* A full disk is no way to have a replaced, discarded or crashing mail delivered or lost. */
static void
test_store_failed_others(void **state)
{
    static const enum action actions[] = {ACTION_REPLACE, ACTION_DISCARD};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        struct decision d = {.action = actions[i], .verdict = VERDICT_INFECTED};
        policy_store_failed(&d, true);
        assert_int_equal(d.action, ACTION_TEMPFAIL);
        assert_memory_equal(d.reply, "451 ", 4);
        decision_clear(&d);
    }
    struct decision poison;
    policy_decide_poison(3, &poison);
    assert_int_equal(poison.action, ACTION_QUARANTINE);
    check_line(poison.reply);
    assert_string_equal(poison.reason, "crashes the scanner: 3 times");
    policy_store_failed(&poison, true);
    assert_int_equal(poison.action, ACTION_TEMPFAIL);
    decision_clear(&poison);
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

/* By old signatures nothing is clean; what was found, or refused anyway, is as it was. */
static void
test_old(void **state)
{
    const guint64 days = 9 * 86400ULL;
    static const struct {
        enum action was;
        enum verdict verdict;
        enum action on_old;
        enum action action;
        enum verdict verdict_after;
        const char *reply;
    } rows[] = {
        {ACTION_ACCEPT, VERDICT_CLEAN, ACTION_TEMPFAIL, ACTION_TEMPFAIL, VERDICT_UNSCANNED, "451 "},
        {ACTION_ACCEPT, VERDICT_CLEAN, ACTION_TAG, ACTION_TAG, VERDICT_UNSCANNED, NULL},
        {ACTION_ACCEPT, VERDICT_CLEAN, ACTION_QUARANTINE, ACTION_QUARANTINE, VERDICT_UNSCANNED,
         "550 5.7.1 Message refused: it could not be scanned for new viruses"},
        {ACTION_TAG, VERDICT_UNSCANNED, ACTION_REJECT, ACTION_REJECT, VERDICT_UNSCANNED, "550 "},
        {ACTION_REPLACE, VERDICT_INFECTED, ACTION_TEMPFAIL, ACTION_TEMPFAIL, VERDICT_INFECTED,
         "451 "},
        {ACTION_REPLACE, VERDICT_INFECTED, ACTION_TAG, ACTION_REPLACE, VERDICT_INFECTED, NULL},
        {ACTION_QUARANTINE, VERDICT_INFECTED, ACTION_TEMPFAIL, ACTION_QUARANTINE, VERDICT_INFECTED,
         NULL},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct settings *settings = settings_make();
        struct envelope *envelope = envelope_make("a@b.example", "c@d.example", NULL);
        struct decision d = {.action = rows[i].was, .verdict = rows[i].verdict, .replacing = 1};
        settings->on_old = (int)rows[i].on_old;
        d.reason = g_strdup("");
        policy_old(settings, envelope, days, &d);
        bool is_other = rows[i].was <= ACTION_REPLACE;
        assert_int_equal(d.action, rows[i].action);
        assert_int_equal(d.verdict, rows[i].verdict_after);
        assert_string_equal(d.reason, is_other ? "the signatures are 9 days old" : "");
        assert_int_equal(d.replacing, rows[i].action == rows[i].was);
        assert_true((d.reply == NULL) == (rows[i].reply == NULL));
        assert_true(d.reply == NULL || g_str_has_prefix(d.reply, rows[i].reply));
        decision_clear(&d);
        d = (struct decision){.action = rows[i].was, .verdict = rows[i].verdict};
        d.reason = g_strdup("");
        policy_old(settings, envelope, G_MAXUINT64, &d);
        assert_int_equal(d.verdict, rows[i].verdict_after);
        assert_string_equal(d.reason, is_other ? "nobody knows how old the signatures are" : "");
        decision_clear(&d);
        envelope_free(envelope);
        settings_drop(settings);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_too_many_parts),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_rule_conditions),
        cmocka_unit_test(test_several_situations),
        cmocka_unit_test(test_store_failed),
        cmocka_unit_test(test_store_failed_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

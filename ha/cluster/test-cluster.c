/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cluster library on saved CIBs (tests/make has how they were made). The scheduler is the real
 * one, so the tools of Pacemaker have to be installed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "commit.h"
#include "fencing.h"
#include "plan.h"
#include "rehearse.h"
#include "simulate.h"
#include "test-saved.h"
#include "words.h"

#define STATE_DIR "/srv/mail/postern"
#define QUEUE "/srv/mail/postfix"

static struct plan *
plan_for(const struct model *model)
{
    char *error = NULL;
    struct plan *plan = plan_new(model, "postern", NULL, STATE_DIR, QUEUE, &error);
    if (plan == NULL) {
        fail_msg("%s", error);
    }
    return plan;
}

static void
test_cib(void **state)
{
    (void)state;
    xmlDoc *doc = NULL;
    g_autofree char *error = NULL;
    assert_int_equal(cib_parse("<other/>", &doc, &error), -EBADMSG);
    assert_true(cib_is_id("a-b.c_1"));
    assert_false(cib_is_id("1a"));
    assert_false(cib_is_id("a'b"));
    assert_int_equal(cib_score("INFINITY"), CIB_INFINITY);
    assert_int_equal(cib_score("-infinity"), -CIB_INFINITY);
    assert_int_equal(cib_score("9999999"), CIB_INFINITY);
    assert_int_equal(cib_score("100"), 100);
    assert_int_equal(cib_score(NULL), 0);
    assert_true(cib_is_true("Yes"));
    assert_true(cib_is_false("off"));
    assert_false(cib_is_true(NULL));
}

static void
test_model(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    assert_int_equal(model->nodes->len, 2);
    assert_string_equal(model->group, "mail");
    assert_string_equal(model->active, "n1");
    assert_string_equal(model->dc, "n2");
    assert_true(model->quorum);
    assert_int_equal(model->failures->len, 0);
    assert_null(model->scanner.primitive);
    assert_int_equal(model_member(model, "fs")->kind, MODEL_FILESYSTEM);
    assert_int_equal(model_member(model, "vip")->kind, MODEL_ADDRESS);
    assert_int_equal(model_member(model, "postfix")->kind, MODEL_POSTFIX);
    assert_string_equal(model_filesystem(model, STATE_DIR)->id, "fs");
    assert_string_equal(model_filesystem(model, "/srv/mail/../mail/x")->id, "fs");
    assert_null(model_filesystem(model, "/srv/mailbox"));
    assert_null(model_filesystem(model, "/var/lib/postern/state"));
}

static void
test_kinds(void **state)
{
    (void)state;
    assert_int_equal(model_kind("systemd:postfix@-"), MODEL_POSTFIX);
    assert_int_equal(model_kind("lsb:postfix"), MODEL_POSTFIX);
    assert_int_equal(model_kind("systemd:dovecot"), MODEL_DOVECOT);
    assert_int_equal(model_kind("ocf:heartbeat:LVM-activate"), MODEL_LVM);
    assert_int_equal(model_kind("ocf:linbit:drbd"), MODEL_DRBD);
    assert_int_equal(model_kind("systemd:exim4"), MODEL_NO_MILTER);
    assert_int_equal(model_kind("ocf:heartbeat:pgsql"), MODEL_OTHER);
}

/* What speaks against setup in each of the CIBs: WHERE, a part of the text, and how many in all. */
static const struct {
    const char *cib;
    const char *where;
    const char *what;
    guint count;
} refused[] = {
    {"two", NULL, NULL, 0},
    {"maintenance", "maintenance-mode", "whole cluster is in maintenance", 1},
    {"unmanaged", "postfix", "unmanaged", 1},
    {"failed", "postfix_start_0", "failed action on n1", 1},
    {"standby", "n2", "standby", 1},
    {"fencing-off", "stonith-enabled", "switched off", 1},
    {"fencing-gap", "n2", "no fencing device covers", 1},
    {"fencing-map", NULL, NULL, 0},
    {"fencing-levels", NULL, NULL, 0},
    {"fencing-watchdog", NULL, NULL, 0},
    {"sticky", "resource-stickiness", "INFINITY", 1},
    {"sticky-sum", "resource-stickiness", "120000", 1},
    {"preferred", "resource-stickiness", "100030", 1},
    {"opt-in", NULL, NULL, 0},
    {"banned", NULL, NULL, 0},
    {"ticket", "t1", "ticket", 1},
    {"set", NULL, NULL, 0},
    {"drbd", "r0", "DRBD", 1},
    {"remote", "far", "remote node", 1},
    {"moved", "cli-ban-mail-on-n2", "never ended", 1},
    {"two-groups", "resources", "several groups hold a mail server: mail, mail2", 1},
    {"loose", "mta", "systemd:postfix is in no group", 1},
};

static void
show(const GPtrArray *refusals)
{
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        print_message("%s %s: %s\n", r->is_remark ? "note" : "no", r->where, r->what);
    }
}

static void
test_refused(void **state)
{
    (void)state;
    saved_need_tools();
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(model_t) model = saved_model(refused[i].cib, NULL);
        g_autoptr(GPtrArray) refusals = refusals_new();
        refuse_unsettled(refusals, model);
        refuse_unfit(refusals, model, NULL);
        if (refusals_count(refusals) != refused[i].count) {
            show(refusals);
            fail_msg("%s: %u refusals, not %u", refused[i].cib, refusals_count(refusals),
                     refused[i].count);
        }
        if (refused[i].where != NULL) {
            const struct refusal *r = saved_refusal(refusals, refused[i].where, FALSE);
            if (r == NULL || strstr(r->what, refused[i].what) == NULL || r->todo == NULL) {
                show(refusals);
                fail_msg("%s: nothing about %s", refused[i].cib, refused[i].where);
            }
        }
    }
}

static void
test_fencing(void **state)
{
    (void)state;
    saved_need_tools();
    static const struct {
        const char *cib;
        enum fencing n2;
    } cases[] = {
        {"two", FENCING_DEVICE},
        {"fencing-gap", FENCING_NONE},
        {"fencing-map", FENCING_DEVICE},
        {"fencing-asked", FENCING_UNKNOWN},
        {"fencing-levels", FENCING_DEVICE},
        {"fencing-watchdog", FENCING_WATCHDOG},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(model_t) model = saved_model(cases[i].cib, NULL);
        assert_true(fencing_enabled(model));
        assert_int_equal(fencing_of(model, "n2"), cases[i].n2);
    }
}

static void
test_group_by_name(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) two = saved_model("two-groups", "mail");
    assert_string_equal(two->group, "mail");
    g_autoptr(model_t) none = saved_model("two", "nobody");
    g_autoptr(GPtrArray) refusals = refusals_new();
    assert_null(none->group);
    refuse_unfit(refusals, none, "nobody");
    assert_non_null(saved_refusal(refusals, "nobody", FALSE));
}

static void
test_rehearsal(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    g_autoptr(plan_t) plan = plan_for(model);
    g_autoptr(GPtrArray) refusals = refusals_new();
    struct rehearsal rehearsal = {0};
    char *error = NULL;
    assert_int_equal(rehearse_setup(model, plan, &rehearsal, refusals, &error), 0);
    show(refusals);
    assert_int_equal(refusals->len, 0);
    assert_non_null(strstr(rehearsal.steps[0], "start postern on n1"));
    assert_non_null(strstr(rehearsal.steps[0], "start postern on n2"));
    assert_string_equal(rehearsal.steps[1], "promote postern on n1");
    assert_string_equal(rehearsal.steps[2], "nothing");
    assert_non_null(strstr(rehearsal.then[0].answer, "move postfix from n1 to n2"));
    assert_string_equal(rehearsal.then[1].answer, "nothing");
    assert_non_null(strstr(rehearsal.then[2].answer, "move fs from n1 to n2"));
    rehearsal_clear(&rehearsal);
}

/* The scheduler itself says what the arithmetic of refuse_inertia() says. */
static void
test_rehearsal_sticky(void **state)
{
    (void)state;
    saved_need_tools();
    static const char *const cibs[] = {"sticky", "sticky-sum", "preferred"};
    for (size_t i = 0; i < G_N_ELEMENTS(cibs); i++) {
        g_autoptr(model_t) model = saved_model(cibs[i], NULL);
        g_autoptr(plan_t) plan = plan_for(model);
        g_autoptr(GPtrArray) refusals = refusals_new();
        struct rehearsal rehearsal = {0};
        char *error = NULL;
        assert_int_equal(rehearse_setup(model, plan, &rehearsal, refusals, &error), 0);
        const struct refusal *r = saved_refusal(refusals, "mail", FALSE);
        assert_non_null(r);
        assert_non_null(strstr(r->what, "a peer is ready, mail would not move"));
        rehearsal_clear(&rehearsal);
    }
}

static void
test_places(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) banned = saved_model("banned", NULL);
    g_autoptr(plan_t) plan = plan_for(banned);
    assert_int_equal(plan->allowed->len, 1);
    assert_string_equal(g_ptr_array_index(plan->allowed, 0), "n1");
    assert_string_equal(g_ptr_array_index(plan->banned, 0), "n2");
    g_autoptr(model_t) model = saved_model("opt-in", NULL);
    g_autoptr(plan_t) opt_in = plan_for(model);
    g_autoptr(GPtrArray) refusals = refusals_new();
    struct rehearsal rehearsal = {0};
    char *error = NULL;
    assert_true(opt_in->opt_in);
    assert_int_equal(rehearse_setup(model, opt_in, &rehearsal, refusals, &error), 0);
    assert_int_equal(refusals->len, 0);
    assert_non_null(strstr(rehearsal.steps[0], "start postern on n2"));
    rehearsal_clear(&rehearsal);
}

/* Setup and remove: the configuration is what it was, in each of the ways to be placed. */
static void
test_there_and_back(void **state)
{
    (void)state;
    saved_need_tools();
    static const char *const cibs[] = {"two", "opt-in", "banned"};
    for (size_t i = 0; i < G_N_ELEMENTS(cibs); i++) {
        g_autoptr(model_t) model = saved_model(cibs[i], NULL);
        g_autoptr(plan_t) plan = plan_for(model);
        g_autofree char *before = cib_configuration(model->doc);
        g_autoptr(cib_doc_t) cib = xmlCopyDoc(model->doc, 1);
        for (size_t n = 0; n < PLAN_SETUP_STEPS; n++) {
            plan_setup_steps[n].edit(cib, plan);
        }
        g_autofree char *with = cib_configuration(cib);
        assert_string_not_equal(before, with);
        struct model *joined = NULL;
        char *error = NULL;
        assert_int_equal(model_new(xmlCopyDoc(cib, 1), NULL, &joined, &error), 0);
        assert_string_equal(joined->scanner.clone, "postern-clone");
        assert_true(joined->scanner.promotable);
        assert_true(joined->scanner.mail_follows);
        assert_false(joined->scanner.is_held);
        g_autoptr(plan_t) found = plan_of_existing(joined);
        assert_int_equal(found->allowed->len, 2); /* whose scores are forgotten */
        for (size_t n = 0; n < PLAN_REMOVE_STEPS; n++) {
            plan_remove_steps[n].edit(cib, found);
        }
        g_autofree char *after = cib_configuration(cib);
        assert_string_equal(before, after);
        model_free(joined);
    }
}

static void
test_verified(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    g_autoptr(plan_t) plan = plan_for(model);
    g_autoptr(cib_doc_t) cib = xmlCopyDoc(model->doc, 1);
    for (size_t n = 0; n < PLAN_SETUP_STEPS; n++) {
        plan_setup_steps[n].edit(cib, plan);
        const char *const argv[] = {TOOL_CRM_VERIFY, "--xml-pipe", NULL};
        g_autofree char *text = cib_text(cib);
        g_autofree char *error = NULL;
        if (tool_output(argv, NULL, text, 30000, NULL, &error) != 0) {
            fail_msg("step %zu: %s", n + 1, error);
        }
    }
}

static void
test_names(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("taken", NULL);
    char *error = NULL;
    assert_null(plan_new(model, "postern", NULL, STATE_DIR, NULL, &error));
    assert_non_null(strstr(error, "postern is taken"));
    g_clear_pointer(&error, g_free);
    assert_null(plan_new(model, "a b", NULL, STATE_DIR, NULL, &error));
    g_clear_pointer(&error, g_free);
    assert_null(plan_new(model, "scanner", NULL, "/var/lib/postern/state", NULL, &error));
    assert_non_null(strstr(error, "on no file system of group mail"));
    g_clear_pointer(&error, g_free);
    g_autoptr(plan_t) plan = plan_new(model, "scanner", NULL, STATE_DIR, NULL, &error);
    assert_non_null(plan);
    assert_null(plan->queue_directory);
}

static char *
joined_words(const struct plan *plan, unsigned step, enum words_tool tool)
{
    g_autoptr(GPtrArray) lines = words_setup(plan, step, tool);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

static void
test_words(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("banned", NULL);
    g_autoptr(plan_t) plan = plan_for(model);
    g_autofree char *pcs = joined_words(plan, 0, WORDS_PCS);
    g_autofree char *crm = joined_words(plan, 0, WORDS_CRMSH);
    g_autofree char *last = joined_words(plan, 2, WORDS_CRMSH);
    assert_non_null(strstr(pcs, "queue_directory=" QUEUE));
    assert_non_null(strstr(pcs, "postern-not-on-n2 postern-clone n2 -INFINITY"));
    assert_non_null(strstr(crm, "location postern-not-on-n2 postern-clone -inf: n2"));
    assert_non_null(strstr(last, "colocation mail-with-postern inf: mail postern-clone:Promoted"));
    g_free(plan->queue_directory);
    plan->queue_directory = g_strdup("/srv/a b");
    g_autofree char *quoted = joined_words(plan, 0, WORDS_PCS);
    assert_non_null(strstr(quoted, "queue_directory='/srv/a b'"));
}

static void
test_timeouts(void **state)
{
    (void)state;
    assert_int_equal(plan_timeouts(0).stop, 60);
    assert_int_equal(plan_timeouts(18).promote, 90);
    assert_int_equal(plan_timeouts(90).stop, 180);
}

/* The scanner set up, and WITH done to its CIB. */
static struct model *
model_with(void (*with)(xmlDoc *doc))
{
    g_autoptr(model_t) before = saved_model("two", NULL);
    g_autoptr(plan_t) plan = plan_for(before);
    struct model *model = NULL;
    g_autofree char *error = NULL;
    xmlDoc *doc = saved_load("two");
    plan_load(doc, plan);
    with(doc);
    if (model_new(doc, NULL, &model, &error) < 0) {
        print_message("%s\n", error);
    }
    return model;
}

static void
unmanage(xmlDoc *doc)
{
    xmlNode *meta = cib_find(doc, "//clone[@id='postern-clone']/meta_attributes");
    cib_add(meta, "nvpair", "id", "unmanaged", "name", "is-managed", "value", "false", NULL);
}

static void
tie(xmlDoc *doc)
{
    xmlNode *order = cib_add(cib_find(doc, "//constraints"), "rsc_order", "id", "mine", NULL);
    xmlNode *set = cib_add(order, "resource_set", "id", "mine-set", NULL);
    cib_add(set, "resource_ref", "id", "postern-clone", NULL);
}

static void
rename_node(xmlDoc *doc)
{
    xmlNode *node = cib_find(doc, "//nodes/node[@uname='n2']");
    xmlSetProp(node, (const xmlChar *)"uname", (const xmlChar *)"n2' or '1'='1");
}

static void
own_postfix(xmlDoc *doc)
{
    xmlNode *postfix = cib_find(doc, "//group/primitive[@type='postfix']");
    xmlNode *set = cib_add(postfix, "instance_attributes", "id", "own", NULL);
    cib_add(set, "nvpair", "id", "own-dir", "name", "config_dir", "value", "/srv/mail/etc", NULL);
}

static void
stick_to_nothing(xmlDoc *doc)
{
    xmlNode *nvpair = cib_find(doc, "//nvpair[@name='resource-stickiness']");
    xmlSetProp(nvpair, (const xmlChar *)"value", (const xmlChar *)"0");
}

static gboolean
warns_of_stickiness(const struct model *model)
{
    g_autoptr(GPtrArray) refusals = refusals_new();
    refuse_unfit(refusals, model, NULL);
    assert_int_equal(refusals_count(refusals), 0);
    return saved_refusal(refusals, "resource-stickiness", TRUE) != NULL;
}

/* Pacemaker's default: allowed, and said. */
static void
test_no_stickiness(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) usual = saved_model("two", NULL);
    g_autoptr(model_t) loose = model_with(stick_to_nothing);
    assert_false(warns_of_stickiness(usual));
    assert_true(warns_of_stickiness(loose));
}

/* A Postfix that has its configuration elsewhere is the one that counts. */
static void
test_postfix_dirs(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) usual = saved_model("two", NULL);
    g_autoptr(model_t) own = model_with(own_postfix);
    assert_int_equal(usual->postfix_dirs->len, 0);
    assert_int_equal(own->postfix_dirs->len, 1);
    assert_string_equal(g_ptr_array_index(own->postfix_dirs, 0), "/srv/mail/etc");
}

/* Of several groups the scanner's own is meant: remove, too, has to find its Postfix. */
static void
test_own_group(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) before = saved_model("two-groups", "mail");
    g_autoptr(plan_t) plan = plan_for(before);
    struct model *model = NULL;
    g_autofree char *error = NULL;
    xmlDoc *doc = saved_load("two-groups");
    own_postfix(doc);
    for (size_t i = 0; i < PLAN_SETUP_STEPS; i++) {
        plan_setup_steps[i].edit(doc, plan);
    }
    assert_int_equal(model_new(doc, NULL, &model, &error), 0);
    assert_string_equal(model->group, "mail");
    assert_true(model->scanner.mail_follows);
    assert_int_equal(model->postfix_dirs->len, 1);
    struct model *other = NULL;
    assert_int_equal(model_new(xmlCopyDoc(doc, 1), "mail2", &other, &error), 0);
    assert_false(other->scanner.mail_follows);
    assert_true(other->scanner.is_followed); /* so it is not what a killed setup has left */
    model_free(other);
    model_free(model);
}

static void
test_ties(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(GPtrArray) refusals = refusals_new();
    g_autoptr(model_t) unmanaged = model_with(unmanage);
    refuse_unsettled(refusals, unmanaged);
    assert_non_null(strstr(saved_refusal(refusals, "postern", FALSE)->what, "unmanaged"));
    g_autoptr(model_t) tied = model_with(tie);
    refuse_ties(refusals, tied);
    assert_non_null(strstr(saved_refusal(refusals, "mine", FALSE)->what, "names the scanner"));
    refuse_ties(refusals, unmanaged);
    assert_int_equal(refusals_count(refusals), 2);
    assert_null(model_with(rename_node));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cib),       cmocka_unit_test(test_model),
        cmocka_unit_test(test_kinds),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fencing),   cmocka_unit_test(test_group_by_name),
        cmocka_unit_test(test_rehearsal), cmocka_unit_test(test_rehearsal_sticky),
        cmocka_unit_test(test_places),    cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_verified),  cmocka_unit_test(test_names),
        cmocka_unit_test(test_words),     cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_ties),      cmocka_unit_test(test_postfix_dirs),
        cmocka_unit_test(test_own_group), cmocka_unit_test(test_no_stickiness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* Reports of nodes beside each other: of two that are alike, that differ, and of any shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "nodecheck.h"
#include "test-saved.h"

static void
show(const GPtrArray *refusals)
{
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        print_message("%s %s: %s\n", r->is_remark ? "note" : "no", r->where, r->what);
    }
}

#define REPORT(uid, hash, units)                                                               \
    "{\"postern\":\"0.1.0\",\"users\":{\"postern\":[" uid ",1],\"postern-engine\":[2,2]},"     \
    "\"config\":{\"sha256\":\"" hash "\",\"error\":null},\"state_dir\":\"/srv/mail/postern\"," \
    "\"signatures\":{\"generation\":\"g\"},\"load_seconds\":17.2,\"units\":{" units "},"       \
    "\"postfix\":[{\"config_directory\":\"/etc/postfix\",\"queue_directory\":\"/q\","          \
    "\"chroot\":true,\"smtpd_milters\":\"unix:/run/clamav/milter.ctl\",\"milter\":\"off\"}]}"

static json_t *
reports(const char *one, const char *two)
{
    json_error_t error;
    json_t *a = json_loads(one, 0, &error);
    json_t *b = json_loads(two, 0, &error);
    assert_non_null(a);
    assert_non_null(b);
    return json_pack("{s:o, s:o}", "n1", a, "n2", b);
}

static void
test_nodecheck(void **state)
{
    (void)state;
    saved_need_tools();
    unsigned with_postfix;
    g_autoptr(model_t) model = saved_model("two", NULL);
    g_autoptr(GPtrArray) well = refusals_new();
    g_autoptr(GPtrArray) ill = refusals_new();
    json_t *same = reports(REPORT("1", "h", ""), REPORT("1", "h", ""));
    json_t *other =
        reports(REPORT("1", "h", ""), REPORT("3", "i", "\"posternd.service\":{\"enabled\":true}"));
    nodecheck(same, model, well);
    assert_int_equal(refusals_count(well), 0);
    assert_non_null(strstr(saved_refusal(well, "n1", TRUE)->what, "another scanner already"));
    assert_string_equal(nodecheck_queue_directory(same, NULL), "/q");
    assert_int_equal(nodecheck_load_seconds(same), 18);
    assert_int_equal(nodecheck_milters(same, &with_postfix), 0);
    assert_int_equal(with_postfix, 2);
    json_object_set_new(
        json_object_get(same, "n2"), "memory",
        json_pack("{s:I, s:I}", "total", (json_int_t)1 << 30, "available", (json_int_t)1 << 29));
    nodecheck_memory(same, 1ULL << 28, well);
    assert_null(saved_refusal(well, "n2", FALSE));
    nodecheck_memory(same, 1ULL << 31, well);
    assert_non_null(strstr(saved_refusal(well, "n2", FALSE)->what, "need about 2.0"));
    assert_null(saved_refusal(well, "n1", FALSE));
    nodecheck(other, model, ill);
    show(ill);
    assert_int_equal(refusals_count(ill), 3);
    json_decref(same);
    json_decref(other);
}

/* The socket's place comes from the node that has Postfix's files, and is one for all. */
static void
test_queues(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    g_autoptr(GPtrArray) refusals = refusals_new();
    json_t *one = reports("{\"postfix\":[]}", REPORT("1", "h", ""));
    assert_string_equal(nodecheck_queue_directory(one, "n2"), "/q");
    assert_string_equal(nodecheck_queue_directory(one, "n1"), "/q");
    json_decref(one);
    json_t *two = reports(REPORT("1", "h", ""), REPORT("1", "h", ""));
    json_t *other = json_array_get(json_object_get(json_object_get(two, "n2"), "postfix"), 0);
    json_object_set_new(other, "queue_directory", json_string("/other"));
    assert_string_equal(nodecheck_queue_directory(two, "n2"), "/other");
    nodecheck(two, model, refusals);
    assert_non_null(
        strstr(saved_refusal(refusals, "n2", FALSE)->what, "queue_directory of the chrooted"));
    json_decref(two);
}

/* Another node says that it is at work; what it says of itself is no reason to stop. */
static void
test_turns(void **state)
{
    (void)state;
    g_autoptr(GPtrArray) refusals = refusals_new();
    json_t *two = reports("{\"changing\":null}", "{\"changing\":\"setup, process 7\"}");
    nodecheck_busy(two, refusals);
    assert_int_equal(refusals_count(refusals), 1);
    assert_non_null(strstr(saved_refusal(refusals, "n2", FALSE)->what, "process 7"));
    json_decref(two);
}

/* A report of any shape is refused, not believed and not fatal. */
static void
test_odd_reports(void **state)
{
    static const char *const odd[] = {
        "{}", "{\"users\":7,\"postfix\":{\"a\":1},\"units\":[1],\"config\":\"x\"}",
        "{\"postfix\":[null,7,[[]]],\"memory\":[],\"load_seconds\":\"x\",\"state_dir\":{}}"};
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        unsigned with_postfix;
        g_autoptr(GPtrArray) refusals = refusals_new();
        json_t *two = reports(REPORT("1", "h", ""), odd[i]);
        nodecheck(two, model, refusals);
        nodecheck_memory(two, 1 << 20, refusals);
        assert_true(refusals_count(refusals) > 0);
        (void)nodecheck_milters(two, &with_postfix);
        (void)nodecheck_load_seconds(two);
        json_decref(two);
    }
}

/* Where mail may run its Postfix has to be, unless the one main.cf moves with the mail. */
static void
test_postfix(void **state)
{
    (void)state;
    saved_need_tools();
    g_autoptr(model_t) model = saved_model("two", NULL);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    g_autoptr(GPtrArray) refusals = refusals_new();
    gboolean first = strcmp(model->active, "n1") == 0;
    const char *with = REPORT("1", "h", "");
    const char *without = "{\"postfix\":[],\"postfix_error\":\"no main.cf\"}";
    const char *other = first ? "n2" : "n1";
    json_t *two = first ? reports(with, without) : reports(without, with);
    json_t *instance =
        json_array_get(json_object_get(json_object_get(two, model->active), "postfix"), 0);
    g_ptr_array_add(nodes, model->active);
    nodecheck_postfix(two, model, nodes, refusals);
    assert_int_equal(refusals_count(refusals), 0);
    g_ptr_array_add(nodes, (void *)(uintptr_t)other);
    json_object_set_new(instance, "main_cf", json_string("/srv/mail/etc/main.cf"));
    nodecheck_postfix(two, model, nodes, refusals);
    assert_int_equal(refusals_count(refusals), 0);
    json_object_set_new(instance, "main_cf", json_string("/etc/postfix/main.cf"));
    nodecheck_postfix(two, model, nodes, refusals);
    assert_non_null(strstr(saved_refusal(refusals, other, FALSE)->what, "no main.cf"));
    json_decref(two);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodecheck), cmocka_unit_test(test_queues),
        cmocka_unit_test(test_turns),     cmocka_unit_test(test_odd_reports),
        cmocka_unit_test(test_postfix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

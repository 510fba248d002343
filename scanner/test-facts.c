/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <glib.h>

#include "facts.h"

static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct part *
add(struct facts *facts, const char *path)
{
    g_autofree char *copy = g_strdup(path);
    g_autofree char *sha256 = g_strdup(hash);
    char type[] = "text/plain";
    struct part part = {.path = copy, .type = type, .sha256 = sha256};
    return facts_add_part(facts, &part);
}

static void
test_verdict_order(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR); /* nothing was completed */
    facts->complete = true;
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
    facts_add_defect(facts, "duplicate-header", "");
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "Heuristics.Encrypted.Zip", "2");
    assert_int_equal(facts_verdict(facts), VERDICT_UNSCANNED);
    facts_add_fault(facts, "mkdir: No space left on device");
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR);
    facts_add_detection(facts, "Eicar");
    assert_int_equal(facts_verdict(facts), VERDICT_INFECTED);
}

/* The verdict is one about the scan: a description that ends early changes nothing. */
static void
test_too_many_parts(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    facts->complete = true;
    for (int i = 0; i < FACTS_PARTS_MAX; i++) {
        assert_non_null(add(facts, "1"));
    }
    assert_null(add(facts, "1"));
    assert_int_equal(facts->parts->len, FACTS_PARTS_MAX);
    assert_int_equal(facts->parts_total, FACTS_PARTS_MAX + 1);
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
}

static void
test_marks_go_upwards(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    const struct part *other = add(facts, "1.1");
    const struct part *leaf = add(facts, "1.2");
    const struct part *zip = add(facts, "1.2/3");
    const struct part *inner = add(facts, "1.2/3/1");
    const struct part *beside = add(facts, "1.2/3/2");
    facts_add_detection_in(facts, "Eicar", "1.2/3/1");
    facts_add_detection_in(facts, "Eicar", "1.2/3/1");
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP", "1.2/3");
    facts_add_unscanned(facts, CAUSE_LIMIT, "MaxFiles", "1.2/3/2");
    facts_mark_macros(facts, "1.2/3/2");
    facts_add_defect(facts, "duplicate-header", "1.1");
    assert_int_equal(facts->detections->len, 1);
    assert_int_equal(leaf->detections->len, 1);
    assert_int_equal(zip->detections->len, 1);
    assert_int_equal(inner->detections->len, 1);
    assert_null(beside->detections);
    assert_true(leaf->encrypted && zip->encrypted && !inner->encrypted && !beside->encrypted);
    assert_true(leaf->macros && beside->macros && !inner->macros);
    assert_int_equal(leaf->limits->len, 2);
    assert_int_equal(beside->limits->len, 1);
    assert_int_equal(other->defects->len, 1);
    assert_true(other->detections == NULL && other->limits == NULL && !other->encrypted);
}

/* A flood of one cause must not hide another: policies tell them apart. */
static void
test_every_cause_is_kept(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    for (int i = 0; i < FACTS_LIST_MAX + 10; i++) {
        g_autofree char *detail = g_strdup_printf("detail %d", i);
        facts_add_unscanned(facts, CAUSE_END_TO_END, detail, "1");
    }
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP", "1");
    facts_add_unscanned(facts, CAUSE_LIMIT, "MaxFiles", "1");
    assert_int_equal(facts->unscanned->len, FACTS_LIST_MAX);
    while (facts_shorten(facts)) {
    }
    assert_int_equal(facts->unscanned->len, 3);
}

static struct facts *
sample(void)
{
    struct facts *facts = facts_new();
    char path[] = "1.2";
    char type[] = "text/plain";
    char true_type[] = "zip";
    char filename[] = "a\xff\x62";
    char sha256[sizeof hash];
    memcpy(sha256, hash, sizeof hash);
    struct part part = {
        .path = path,
        .type = type,
        .true_type = true_type,
        .filename = filename,
        .size = 12,
        .sha256 = sha256,
        .signed_ = true,
        .from = 3,
        .body_from = 70,
        .to = 90,
    };
    facts->complete = true;
    facts->scan_us = 17;
    (void)facts_add_part(facts, &part);
    (void)add(facts, "1.2/1");
    facts_add_detection_in(facts, "Eicar", "1.2");
    facts_add_unscanned(facts, CAUSE_LIMIT, "MaxFiles", "1.2");
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP", "1.2/1");
    facts_add_defect(facts, "duplicate-header", "1.2");
    facts_mark_macros(facts, "1.2");
    return facts;
}

static void
test_json(void **state)
{
    g_autoptr(facts_t) facts = sample();
    (void)state;
    json_auto_t *json = facts_to_json(facts);
    assert_non_null(json);
    g_autoptr(facts_t) back = facts_from_json(json);
    assert_non_null(back);
    assert_int_equal(back->detections->len, 1);
    const struct part *part = g_ptr_array_index(back->parts, 0);
    assert_string_equal(part->true_type, "zip");
    assert_true(part->encrypted && part->signed_ && part->macros);
    assert_true(part->from == 3 && part->body_from == 70 && part->to == 90);
    assert_string_equal(g_ptr_array_index(part->limits, 1), "ZIP");
    json_auto_t *again = facts_to_json(back);
    assert_true(json_equal(json, again));
}

/* Each member in turn missing, and of a wrong type: a forged answer is never half believed. */
static void
test_hostile(void **state)
{
    g_autoptr(facts_t) facts = sample();
    json_auto_t *json = facts_to_json(facts);
    const char *key;
    json_t *value;
    (void)state;
    json_object_foreach(json, key, value)
    {
        json_auto_t *forged = json_deep_copy(json);
        json_object_del(forged, key);
        assert_null(facts_from_json(forged));
        json_object_set_new(forged, key, json_string("x"));
        assert_null(facts_from_json(forged));
    }
    json_auto_t *more = json_deep_copy(json);
    json_object_set_new(more, "verdict", json_string("clean"));
    assert_null(facts_from_json(more));
    json_object_del(more, "verdict");
    json_object_set_new(more, "parts_total", json_integer(0));
    assert_null(facts_from_json(more));
}

/* What a part may not say. */
static void
test_hostile_parts(void **state)
{
    static const char *const forged[] = {
        "{\"path\":\"1.2x\"}",
        "{\"path\":\"../2\"}",
        "{\"path\":\"1..2\"}",
        "{\"path\":\"1/\"}",
        "{\"path\":7}",
        "{\"sha256\":\"00\"}",
        "{\"sha256\":\"G123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}",
        "{\"true_type\":\"\"}",
        "{\"true_type\":\"Zip\\n\"}",
        "{\"size\":-1}",
        "{\"encrypted\":\"yes\"}",
        "{\"detections\":[1]}",
        "{\"detections\":\"Eicar\"}",
        "{\"limits\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\"]}",
        "{\"range\":[0,0,0]}",
        "{\"range\":[5,4,9]}",
        "{\"range\":[5,6,4]}",
        "{\"range\":[-1,6,9]}",
        "{\"range\":[1,6]}",
        "{\"range\":[1,6,9,12]}",
        "{\"colour\":\"red\"}",
    };
    g_autoptr(facts_t) facts = sample();
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(forged); i++) {
        json_auto_t *json = facts_to_json(facts);
        json_auto_t *change = json_loads(forged[i], 0, NULL);
        assert_non_null(change);
        json_object_update(json_array_get(json_object_get(json, "parts"), 0), change);
        g_autoptr(facts_t) back = facts_from_json(json);
        if (back != NULL) {
            fail_msg("%s was believed", forged[i]);
        }
    }
}

/* Facts that were believed once are believed again: a path that was cut would be none. */
static void
test_long_path(void **state)
{
    g_autoptr(facts_t) facts = sample();
    json_auto_t *json = facts_to_json(facts);
    GString *path = g_string_new("1");
    (void)state;
    while (path->len <= FACTS_TEXT_MAX) {
        g_string_append(path, ".1");
    }
    json_object_set_new(json_array_get(json_object_get(json, "parts"), 0), "path",
                        json_string(path->str));
    assert_null(facts_from_json(json));
    g_string_truncate(path, FACTS_TEXT_MAX - 1);
    json_object_set_new(json_array_get(json_object_get(json, "parts"), 0), "path",
                        json_string(path->str));
    g_autoptr(facts_t) back = facts_from_json(json);
    assert_non_null(back);
    json_auto_t *again = facts_to_json(back);
    g_autoptr(facts_t) third = facts_from_json(again);
    assert_non_null(third);
    g_string_free(path, TRUE);
}

/* What is found stays when descriptions have to go. */
static void
test_shorten(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    facts->complete = true;
    for (int i = 0; i < FACTS_PARTS_MAX; i++) {
        g_autofree char *path = g_strdup_printf("%d", i + 1);
        (void)add(facts, path);
    }
    facts_add_detection_in(facts, "Eicar", "900");
    facts_mark_macros(facts, "800");
    assert_true(facts_shorten(facts));
    assert_true(facts->parts->len < FACTS_PARTS_MAX);
    assert_true(facts->parts->len > 200);
    assert_int_equal(facts->parts_total, FACTS_PARTS_MAX);
    assert_non_null(facts_find_part(facts, "900"));
    assert_non_null(facts_find_part(facts, "800"));
    assert_non_null(facts_find_part(facts, "1"));
    assert_null(facts_find_part(facts, "999"));
    while (facts_shorten(facts)) {
    }
    assert_int_equal(facts->parts->len, 0);
    assert_int_equal(facts_verdict(facts), VERDICT_INFECTED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdict_order),
        cmocka_unit_test(test_too_many_parts),
        cmocka_unit_test(test_marks_go_upwards),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_every_cause_is_kept),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_parts),
        cmocka_unit_test(test_long_path),
        cmocka_unit_test(test_shorten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

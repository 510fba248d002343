/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "facts.h"
#include "settings.h"

static struct settings *
load_text(const char *text, char **error_r)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("postern-XXXXXX.conf", &path, NULL);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct settings *settings = settings_load(path, error_r);
    assert_int_equal(g_unlink(path), 0);
    return settings;
}

static void
check_refused(const char *text, const char *expected)
{
    g_autofree char *error = NULL;
    assert_null(load_text(text, &error));
    assert_non_null(error);
    if (strstr(error, expected) == NULL) {
        fail_msg("'%s' does not say '%s'", error, expected);
    }
}

static void
test_settings(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    g_autoptr(settings_t) s = load_text("# comment\nworkers = 3\nmessage_size = \"2M\"\n"
                                        "milter_listen = {\"inet:127.0.0.1:1\", \"unix:/x\"}\n",
                                        &error);
    assert_null(error);
    assert_non_null(s);
    assert_int_equal(s->workers, 3);
    assert_int_equal(s->message_size, 2097152);
    assert_string_equal(s->milter_listen[1], "unix:/x");
    assert_string_equal(s->state_storage, "exclusive");
    assert_int_equal(s->scan_timeout, 60);
}

static void
test_settings_refused(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    check_refused("\n\nworker = 3\n", ".conf:3: no such option 'worker'");
    check_refused("workers = 3000\n", ".conf:1: workers = 3000: not a number between 0 and 254");
    check_refused("message_size = \"2X\"\n", "not a size");
    check_refused("state_dir = \"\"\n", "state_dir is empty");
    check_refused("workers = \n", ":2:");
    check_refused("state_storage = \"both\"\n", "must be exclusive or shared");
    check_refused("message_size = \"1G\"\n", "spool_memory");
    check_refused("milter_listen = {\"tcp:25\"}\n", "must be unix:/PATH");
    assert_null(settings_load("/nonexistent/postern.conf", &error));
    assert_non_null(strstr(error, "/nonexistent/postern.conf: cannot be read"));
}

static void
test_verdict_order(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR); /* nothing was completed */
    facts->complete = true;
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "Heuristics.Encrypted.Zip", "2");
    assert_int_equal(facts_verdict(facts), VERDICT_UNSCANNED);
    facts_add_fault(facts, "mkdir: No space left on device");
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR);
    facts_add_detection(facts, "Eicar");
    assert_int_equal(facts_verdict(facts), VERDICT_INFECTED);
}

static void
test_too_many_parts(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    char path[] = "1";
    char type[] = "text/plain";
    struct part part = {.path = path, .type = type};
    (void)state;
    facts->complete = true;
    for (int i = 0; i <= FACTS_PARTS_MAX; i++) {
        assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
        facts_add_part(facts, &part);
    }
    assert_int_equal(facts->parts->len, FACTS_PARTS_MAX);
    assert_int_equal(facts_verdict(facts), VERDICT_UNSCANNED);
}

static struct facts *
sample(void)
{
    struct facts *facts = facts_new();
    char path[] = "1.2";
    char type[] = "text/plain";
    char filename[] = "a\xff\x62";
    struct part part = {.path = path, .type = type, .filename = filename, .size = 12};
    facts->complete = true;
    facts->scan_us = 17;
    facts_add_detection(facts, "Eicar");
    facts_add_detection(facts, "Eicar");
    facts_add_unscanned(facts, CAUSE_LIMIT, "MaxFiles", "1");
    facts_add_part(facts, &part);
    return facts;
}

static void
test_facts_json(void **state)
{
    g_autoptr(facts_t) facts = sample();
    (void)state;
    json_t *json = facts_to_json(facts);
    assert_non_null(json);
    g_autoptr(facts_t) back = facts_from_json(json);
    assert_non_null(back);
    assert_int_equal(back->detections->len, 1);
    json_t *again = facts_to_json(back);
    assert_true(json_equal(json, again));
    json_decref(json);
    json_decref(again);
}

/* Each member in turn missing, and of a wrong type: a forged answer is never half believed. */
static void
test_facts_hostile(void **state)
{
    g_autoptr(facts_t) facts = sample();
    json_t *json = facts_to_json(facts);
    const char *key;
    json_t *value;
    (void)state;
    json_object_foreach(json, key, value)
    {
        json_t *forged = json_deep_copy(json);
        json_object_del(forged, key);
        assert_null(facts_from_json(forged));
        json_object_set_new(forged, key, json_string("x"));
        assert_null(facts_from_json(forged));
        json_decref(forged);
    }
    json_t *more = json_deep_copy(json);
    json_object_set_new(more, "verdict", json_string("clean"));
    assert_null(facts_from_json(more));
    json_object_del(more, "verdict");
    json_object_set_new(more, "parts_total", json_integer(0));
    assert_null(facts_from_json(more));
    json_decref(more);
    json_decref(json);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),      cmocka_unit_test(test_settings_refused),
        cmocka_unit_test(test_verdict_order), cmocka_unit_test(test_too_many_parts),
        cmocka_unit_test(test_facts_json),    cmocka_unit_test(test_facts_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

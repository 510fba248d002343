/* SPDX-License-Identifier: GPL-2.0-only */
/* Envelope and spool. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "envelope.h"
#include "esmtp.h"
#include "memory.h"
#include "message-line.h"
#include "spool.h"

static void
check_content(const struct spool *spool, const char *expected, gsize len)
{
    g_autofree char *got = g_malloc(len + 1);
    assert_int_equal(pread(spool_fd(spool), got, len + 1, 0), (ssize_t)len);
    assert_memory_equal(got, expected, len);
}

static void
check_hash(const char *body, gsize len, gsize step)
{
    struct spool_budget budget = {.limit = 1048576};
    g_autofree char *expected =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)body, len);
    g_autoptr(spool_t) spool = spool_new(&budget, 1048576);
    assert_int_equal(spool_append(spool, "Subject: x\r\n\r\n", 14), 0);
    spool_body_begins(spool);
    for (gsize at = 0; at < len; at += step) {
        assert_int_equal(spool_append(spool, body + at, MIN(step, len - at)), 0);
    }
    assert_int_equal(spool_seal(spool), 0);
    assert_string_equal(spool_body_hash(spool), expected);
    assert_int_equal(spool_size(spool), 14 + len);
    g_autofree char *whole = g_malloc(14 + len);
    memcpy(whole, "Subject: x\r\n\r\n", 14);
    memcpy(whole + 14, body, len);
    check_content(spool, whole, 14 + len);
}

static void
test_spool_content_and_hash(void **state)
{
    g_autofree char *body = g_malloc(100000);
    (void)state;
    for (int i = 0; i < 100000; i++) {
        body[i] = (char)(i * 7 + i / 251);
    }
    check_hash(body, 0, 1);
    check_hash(body, 1, 1);
    check_hash(body, 100000, 100000); /* larger than what is gathered */
    check_hash(body, 100000, 16384);
    check_hash(body, 100000, 997);
    check_hash(body, 20000, 16000);
}

static void
test_spool_sealed(void **state)
{
    struct spool_budget budget = {.limit = 1000};
    (void)state;
    g_autoptr(spool_t) spool = spool_new(&budget, 1000);
    assert_int_equal(spool_append(spool, "abc", 3), 0);
    assert_int_equal(spool_seal(spool), 0);
    assert_int_equal(fcntl(spool_fd(spool), F_GET_SEALS),
                     F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    assert_true(pwrite(spool_fd(spool), "x", 1, 0) < 0);
    assert_int_equal(errno, EPERM);
    assert_int_equal(spool_append(spool, "d", 1), -EPERM);
    assert_int_equal(ftruncate(spool_fd(spool), 0), -1);
    check_content(spool, "abc", 3);
}

static void
test_spool_limits(void **state)
{
    struct spool_budget budget = {.limit = 100};
    char bytes[101] = {0};
    (void)state;
    struct spool *one = spool_new(&budget, 60);
    struct spool *two = spool_new(&budget, 60);
    assert_int_equal(spool_append(one, bytes, 61), -EFBIG);
    assert_int_equal(spool_append(one, bytes, 60), 0);
    assert_int_equal(spool_append(one, bytes, 1), -EFBIG);
    assert_int_equal(spool_append(two, bytes, 41), -ENOBUFS);
    assert_int_equal(spool_append(two, bytes, 40), 0);
    assert_int_equal(budget.used, 100);
    assert_int_equal(spool_append(two, bytes, 1), -ENOBUFS);
    spool_free(one);
    assert_int_equal(budget.used, 40);
    assert_int_equal(spool_append(two, bytes, 1), 0);
    spool_free(two);
    assert_int_equal(budget.used, 0);
    spool_free(NULL);
}

static void
test_spool_reserve(void **state)
{
    struct spool_budget budget = {.limit = 100};
    char bytes[100] = {0};
    (void)state;
    struct spool *one = spool_new(&budget, 100);
    assert_int_equal(spool_reserve(one, 101), -ENOBUFS);
    assert_int_equal(spool_reserve(one, 60), 0);
    assert_int_equal(spool_hold(one, 41), -ENOBUFS);
    assert_int_equal(spool_hold(one, 10), 0);
    assert_int_equal(budget.used, 70);
    assert_int_equal(spool_append(one, bytes, 50), 0); /* nobody can take what is reserved */
    assert_int_equal(budget.used, 70);
    assert_int_equal(spool_append(one, bytes, 15), 0);
    assert_int_equal(budget.used, 75);
    assert_int_equal(spool_seal(one), 0);
    assert_int_equal(budget.used, 75);
    struct spool *two = spool_new(&budget, 100);
    assert_int_equal(spool_reserve(two, 26), -ENOBUFS);
    assert_int_equal(spool_reserve(two, 25), 0);
    assert_int_equal(spool_append(two, bytes, 5), 0);
    assert_int_equal(spool_seal(two), 0);
    assert_int_equal(budget.used, 80);
    budget.limit = 50; /* lowered while in use: nothing new, all is given back */
    assert_false(spool_budget_take(&budget, 1));
    spool_free(one);
    spool_free(two);
    assert_int_equal(budget.used, 0);
}

#define MB ((guint64)1048576)

static struct settings
memory_settings(void)
{
    return (struct settings){.workers = 4,
                             .message_size = 100 * MB,
                             .spool_memory = 512 * MB,
                             .scan_size = 400 * MB,
                             .scan_file_size = 100 * MB};
}

static void
test_memory_plan(void **state)
{
    const struct memory_limits big = {.machine = 16384 * MB, .own = G_MAXUINT64};
    const struct memory_limits small = {.machine = 800 * MB, .own = G_MAXUINT64};
    const struct memory_limits unit = {.machine = 16384 * MB, .own = 400 * MB};
    struct settings s = memory_settings();
    (void)state;
    json_t *engine = json_pack("{s:I, s:I}", "memory", 1000 * MB, "worker_memory", 600 * MB);
    struct memory_plan plan = memory_plan(&s, &big, engine);
    assert_int_equal(plan.total, 12288 * MB);
    assert_int_equal(plan.engine, 3400 * MB);
    assert_int_equal(plan.mail, 512 * MB); /* never more than spool_memory */
    assert_false(plan.tight);

    s.memory = 3700 * MB;
    plan = memory_plan(&s, &big, engine);
    assert_int_equal(plan.total, 3700 * MB);
    assert_int_equal(plan.mail, 3700 * MB / 8);
    s.memory = 4000 * MB;
    s.spool_memory = 5000 * MB;
    assert_int_equal(memory_plan(&s, &big, engine).mail, 600 * MB);
    s.memory = 0;
    assert_int_equal(memory_plan(&s, &unit, engine).mail, 300 * MB);

    plan = memory_plan(&s, &small, engine);
    assert_int_equal(plan.mail, 100 * MB + MEMORY_MESSAGE_OVERHEAD); /* one message, always */
    assert_true(plan.tight);

    plan = memory_plan(&s, &big, NULL); /* estimated */
    assert_true(plan.engine > 4 * 500 * MB && plan.engine < 4 * 500 * MB + 200 * MB);
    json_decref(engine);
}

static void
group_write(const char *root, const char *path, const char *text)
{
    g_autofree char *whole = g_build_filename(root, path, NULL);
    g_autofree char *directory = g_path_get_dirname(whole);
    assert_int_equal(g_mkdir_with_parents(directory, 0700), 0);
    assert_true(g_file_set_contents(whole, text, -1, NULL));
}

static void
group_remove(const char *root, const char *path)
{
    g_autofree char *whole = g_build_filename(root, path, NULL);
    assert_int_equal(g_remove(whole), 0);
}

static void
test_memory_limits(void **state)
{
    g_autofree char *root = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *self = g_build_filename(root, "self", NULL);
    (void)state;
    struct memory_limits none = memory_limits_read(root, self);
    assert_true(none.machine > 64 * MB && none.machine < G_MAXUINT64);
    assert_int_equal(none.own, G_MAXUINT64);

    group_write(root, "self", "4:memory:/x\n0::/a/b\n");
    group_write(root, "memory.max", "50000000\n");
    group_write(root, "memory/memory.limit_in_bytes", "40000000\n");
    group_write(root, "a/memory.max", "30000000\n");
    group_write(root, "a/b/memory.max", "max\n");
    struct memory_limits some = memory_limits_read(root, self);
    assert_int_equal(some.machine, 40000000);
    assert_int_equal(some.own, 30000000);

    static const char *const made[] = {"self",
                                       "memory.max",
                                       "memory/memory.limit_in_bytes",
                                       "memory",
                                       "a/memory.max",
                                       "a/b/memory.max",
                                       "a/b",
                                       "a",
                                       ""};
    for (size_t i = 0; i < G_N_ELEMENTS(made); i++) {
        group_remove(root, made[i]);
    }
}

static void
test_envelope_json(void **state)
{
    (void)state;
    g_autoptr(envelope_t) e = envelope_new();
    e->sender = g_strdup("");
    e->direction = DIRECTION_SUBMISSION;
    e->client_addr = g_strdup("192.0.2.1");
    e->subject = g_strdup("gr\xfc\xdf");
    g_ptr_array_add(e->recipients, g_strdup("b@example.org"));
    g_ptr_array_add(e->recipients, g_strdup("a@example.org"));
    json_t *json = envelope_to_json(e);
    g_autoptr(envelope_t) back = envelope_from_json(json);
    assert_non_null(back);
    assert_string_equal(back->sender, "");
    assert_string_equal(back->client_addr, "192.0.2.1");
    assert_null(back->queue_id);
    assert_int_equal(back->direction, DIRECTION_SUBMISSION);
    assert_int_equal(back->recipients->len, 2);
    assert_string_equal(g_ptr_array_index(back->recipients, 0), "b@example.org");
    assert_true(g_utf8_validate(back->subject, -1, NULL));
    json_decref(json);
}

static void
test_envelope_json_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"sender\":\"a\"}",
        "{\"recipients\":[]}",
        "{\"sender\":1,\"recipients\":[]}",
        "{\"sender\":\"a\",\"recipients\":[1]}",
        "{\"sender\":\"a\",\"recipients\":\"b\"}",
        "{\"sender\":\"a\",\"recipients\":[],\"helo\":{}}",
        "{\"sender\":\"a\",\"recipients\":[],\"direction\":\"sideways\"}",
        "{\"sender\":\"a\",\"recipients\":[],\"direction\":1}",
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        json_t *json = json_loads(bad[i], 0, NULL);
        assert_non_null(json);
        assert_null(envelope_from_json(json));
        json_decref(json);
    }
}

static void
test_envelope_parameters(void **state)
{
    (void)state;
    g_autoptr(envelope_t) e = envelope_new();
    e->sender = g_strdup("a@x.test");
    e->parameters = g_strdup("RET=FULL");
    envelope_add_recipient(e, g_strdup("b@x.test"), NULL);
    envelope_add_recipient(e, g_strdup("c@x.test"), g_strdup("NOTIFY=NEVER"));
    envelope_add_recipient(e, g_strdup("d@x.test"), NULL);
    assert_null(envelope_recipient_parameters(e, 0));
    assert_string_equal(envelope_recipient_parameters(e, 1), "NOTIFY=NEVER");
    assert_null(envelope_recipient_parameters(e, 2));
    json_t *json = envelope_to_json(e);
    assert_null(json_object_get(json, "parameters"));
    envelope_parameters_to_json(e, json);
    g_autoptr(envelope_t) back = envelope_from_json(json);
    assert_string_equal(back->parameters, "RET=FULL");
    assert_null(envelope_recipient_parameters(back, 0));
    assert_string_equal(envelope_recipient_parameters(back, 1), "NOTIFY=NEVER");
    assert_null(envelope_recipient_parameters(back, 3));
    json_decref(json);
}

struct esmtp_case {
    enum esmtp_command command;
    const char *parameter;
    gboolean kept;
};

static void
test_esmtp(void **state)
{
    static const struct esmtp_case cases[] = {
        {ESMTP_MAIL, "BODY=8BITMIME", TRUE},
        {ESMTP_MAIL, "body=8bitmime", TRUE},
        {ESMTP_MAIL, "BODY=7BIT", FALSE},
        {ESMTP_MAIL, "BODY", FALSE},
        {ESMTP_MAIL, "SMTPUTF8", TRUE},
        {ESMTP_MAIL, "SMTPUTF8=1", FALSE},
        {ESMTP_MAIL, "RET=HDRS", TRUE},
        {ESMTP_MAIL, "RET=", FALSE},
        {ESMTP_MAIL, "ENVID=QQ+2B1", TRUE},
        {ESMTP_MAIL, "ENVID=QQ+2", FALSE},
        {ESMTP_MAIL, "ENVID=a b", FALSE},
        {ESMTP_MAIL, "ENVID=", FALSE},
        {ESMTP_MAIL, "SIZE=1", FALSE},
        {ESMTP_MAIL, "AUTH=<>", FALSE},
        {ESMTP_MAIL, "NOTIFY=NEVER", FALSE},
        {ESMTP_RCPT, "NOTIFY=NEVER", TRUE},
        {ESMTP_RCPT, "NOTIFY=SUCCESS,FAILURE,DELAY", TRUE},
        {ESMTP_RCPT, "NOTIFY=NEVER,DELAY", FALSE},
        {ESMTP_RCPT, "NOTIFY=DELAY,", FALSE},
        {ESMTP_RCPT, "ORCPT=rfc822;a+2B@x.test", TRUE},
        {ESMTP_RCPT, "ORCPT=utf-8;gr\xc3\xbc@x.test", TRUE},
        {ESMTP_RCPT, "ORCPT=utf-8;gr\xfc@x.test", FALSE},
        {ESMTP_RCPT, "ORCPT=rfc822;gr\xc3\xbc@x.test", FALSE},
        {ESMTP_RCPT, "ORCPT=rfc822;", FALSE},
        {ESMTP_RCPT, "ORCPT=rfc822;a\rRSET", FALSE},
        {ESMTP_RCPT, "RET=HDRS", FALSE},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *kept = esmtp_add(NULL, cases[i].command, cases[i].parameter);
        if ((kept != NULL) != cases[i].kept) {
            fail_msg("%s was%s kept", cases[i].parameter, kept == NULL ? " not" : "");
        }
    }
    char *two = esmtp_add(esmtp_add(NULL, ESMTP_MAIL, "RET=HDRS"), ESMTP_MAIL, "SMTPUTF8");
    two = esmtp_add(two, ESMTP_MAIL, "ret=FULL"); /* said twice: the first holds */
    assert_string_equal(two, "RET=HDRS SMTPUTF8");
    assert_true(esmtp_has(two, "smtputf8"));
    assert_false(esmtp_has(NULL, "SMTPUTF8"));
    g_autofree char *none = esmtp_select(two, ESMTP_MAIL, 0);
    g_autofree char *dsn = esmtp_select(two, ESMTP_MAIL, ESMTP_DSN);
    assert_string_equal(none, "");
    assert_string_equal(dsn, " RET=HDRS");
    g_free(two);
}

static void
test_message_line(void **state)
{
    (void)state;
    g_autoptr(envelope_t) e = envelope_new();
    e->queue_id = g_strdup("4XyZ");
    e->sender = g_strdup("");
    e->client_addr = g_strdup("192.0.2.1");
    e->message_id = g_strdup("<1@x> verdict=clean\r\nforged: line \"q\"");
    g_ptr_array_add(e->recipients, g_strdup("b@example.org"));
    struct message_line record = {.envelope = e,
                                  .size = 7,
                                  .verdict = "not fully scanned",
                                  .reason = "",
                                  .action = "quarantine",
                                  .rule = "the boss",
                                  .key = "0123",
                                  .scan_us = 12345,
                                  .total_us = 20000};
    g_autofree char *line = message_line(&record);
    assert_string_equal(
        line, "4XyZ: message-id=\"<1@x> verdict=clean\\x0d\\x0aforged: line \\x22q\\x22\" "
              "client=unknown[192.0.2.1] user=- direction=inbound from=\"\" rcpts=1 size=7 "
              "verdict=\"not fully scanned\" reason=- action=quarantine rule=\"the boss\" "
              "key=0123 scan_ms=12 store_ms=0 total_ms=20");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spool_content_and_hash),
        cmocka_unit_test(test_spool_sealed),
        cmocka_unit_test(test_spool_limits),
        cmocka_unit_test(test_spool_reserve),
        cmocka_unit_test(test_memory_plan),
        cmocka_unit_test(test_memory_limits),
        cmocka_unit_test(test_envelope_json),
        cmocka_unit_test(test_envelope_json_refused),
        cmocka_unit_test(test_envelope_parameters),
        cmocka_unit_test(test_esmtp),
        cmocka_unit_test(test_message_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* The pool against an engine and workers that the test plays, in the same event loop. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "packet.h"
#include "test-play.h"

static void
test_scan(void **state)
{
    struct result result = {0};
    int fd = message("hello");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &result));
    assert_int_equal(result.calls, 0);
    json_int_t id = worker_take(worker, "hello");
    assert_int_equal(result.calls, 0);
    worker_answer(worker, id, "Eicar", false);
    check_result(&result, NULL, false);
    assert_int_equal(result.detections, 1);

    /* The same worker takes the next, under another number. */
    struct result next = {0};
    struct scan *scan = pool_scan(t.pool, fd, play_on_done, &next);
    assert_true(worker_take(worker, "hello") != id);
    scan_cancel(scan);
    engine_expect("kill", 1);
    close(worker);
    close(fd);
}

/* A second opinion is not that of the first; others do not wait behind it. */
static void
test_by_another(void **state)
{
    struct result first = {0};
    struct result second = {0};
    struct result other = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int one = engine_worker(1);
    int two = engine_worker(2);
    run_until_ready(true);
    struct scan *busy = NULL;
    while (sd_event_run(t.event, 0) > 0) {
    }
    busy = pool_scan(t.pool, fd, play_on_done, &other); /* by 2, the last that came */
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &first));
    worker_answer(one, worker_take(one, "x"), NULL, false);
    check_result(&first, NULL, false);
    assert_int_equal(first.worker, 1);
    struct result behind = {0};
    assert_non_null(pool_scan_by_another(t.pool, fd, 1, play_on_done, &second));
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &behind));
    worker_answer(one, worker_take(one, "x"), NULL, false);
    check_result(&behind, NULL, false);
    assert_int_equal(second.calls, 0);
    worker_answer(two, worker_take(two, "x"), NULL, true); /* and ends */
    check_result(&other, NULL, false);
    (void)busy;
    close(two);
    int three = engine_worker(3);
    worker_answer(three, worker_take(three, "x"), NULL, true);
    check_result(&second, NULL, false);
    assert_int_equal(second.worker, 3);
    close(three);

    /* Where there is no other, there will be one. */
    struct result alone = {0};
    assert_non_null(pool_scan_by_another(t.pool, fd, 1, play_on_done, &alone));
    engine_expect("kill", 1);
    close(one);
    int four = engine_worker(4);
    worker_answer(four, worker_take(four, "x"), NULL, false);
    check_result(&alone, NULL, false);
    assert_int_equal(alone.worker, 4);

    /* Also when it was busy with another message at first. */
    struct result next = {0};
    struct result rest = {0};
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &next));
    assert_non_null(pool_scan_by_another(t.pool, fd, 4, play_on_done, &rest));
    worker_answer(four, worker_take(four, "x"), NULL, false);
    check_result(&next, NULL, false);
    engine_expect("kill", 4);
    close(four);
    int five = engine_worker(5);
    worker_answer(five, worker_take(five, "x"), NULL, false);
    check_result(&rest, NULL, false);
    close(five);
    close(fd);
}

static void
test_queue_is_in_order(void **state)
{
    struct result first = {0};
    struct result second = {0};
    int fds[] = {message("one"), message("two")};
    (void)state;
    engine_accept("ready");
    run_until_ready(true);
    (void)pool_scan(t.pool, fds[0], play_on_done, &first);
    (void)pool_scan(t.pool, fds[1], play_on_done, &second);
    int retired = engine_worker(1);
    worker_answer(retired, worker_take(retired, "one"), NULL, true);
    check_result(&first, NULL, false);
    int worker = engine_worker(2); /* the first gets no more */
    worker_answer(worker, worker_take(worker, "two"), NULL, false);
    check_result(&second, NULL, false);
    close(retired);
    close(worker);
    close(fds[0]);
    close(fds[1]);
}

static void
test_not_ready(void **state)
{
    struct result none = {0};
    struct result loading = {0};
    int fd = message("x");
    (void)state;
    assert_false(pool_ready(t.pool));
    (void)pool_scan(t.pool, fd, play_on_done, &none);
    assert_int_equal(none.calls, 0); /* not from within the call */
    check_result(&none, "the scan engine is not ready", false);
    engine_accept("loading");
    (void)pool_scan(t.pool, fd, play_on_done, &loading);
    check_result(&loading, "the scan engine is not ready", false);
    assert_false(pool_ready(t.pool));
    engine_send(json_pack("{s:s, s:s}", "event", "state", "state", "ready"), -1);
    run_until_ready(true);
    json_t *status = pool_status(t.pool);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(status, "engine"), "state")), "ready");
    json_decref(status);
    close(fd);
}

static void
test_worker_dies(void **state)
{
    struct result result = {0};
    int fd = message("bad");
    (void)state;
    engine_accept("ready");
    int first = engine_worker(1);
    int second = engine_worker(2);
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    run_until_readable(second); /* the last that came */
    (void)worker_take(second, "bad");
    close(second);
    engine_expect("kill", 2);
    json_int_t id = worker_take(first, "bad"); /* tried once more */
    assert_int_equal(result.calls, 0);
    worker_answer(first, id, NULL, false);
    check_result(&result, NULL, false);
    close(first);
    close(fd);
}

static void
test_second_death_is_the_end(void **state)
{
    struct result result = {0};
    int fd = message("bad");
    (void)state;
    engine_accept("ready");
    int first = engine_worker(1);
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    (void)worker_take(first, "bad");
    close(first);
    engine_expect("kill", 1);
    int second = engine_worker(2);
    int third = engine_worker(3);
    (void)worker_take(second, "bad");
    close(second);
    check_result(&result, "two workers were lost over it", true);
    engine_expect("kill", 2);
    int evidence = -1;
    json_t *packet = NULL;
    run_until_readable(t.sock);
    assert_int_equal(packet_receive(t.sock, &packet, &evidence), 1);
    assert_string_equal(json_string_value(json_object_get(packet, "op")), "evidence");
    assert_true(evidence >= 0);
    json_decref(packet);
    close(evidence);
    struct pollfd idle = {.fd = third, .events = POLLIN};
    assert_int_equal(poll(&idle, 1, 0), 0); /* not a third time */
    close(third);
    close(fd);
}

static void
test_gone_after_the_answer(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    json_int_t id = worker_take(worker, "x");
    engine_send(json_pack("{s:s, s:i, s:s}", "event", "gone", "worker", 1, "cause", "retired"), -1);
    worker_answer(worker, id, NULL, true);
    check_result(&result, NULL, false);
    close(worker);
    close(fd);
}

/* Each of these is taken for the loss of the worker, which is then ended. */
static void
test_lies(void **state)
{
    static const char *const lies[] = {
        "{}",
        "{\"id\":%d}",
        "{\"id\":%d,\"facts\":{},\"retire\":false}",
        "{\"id\":%d,\"facts\":null,\"retire\":false}",
        "{\"id\":%d,\"facts\":{\"version\":1},\"retire\":true}",
        "{\"id\":%d,\"verdict\":\"clean\"}",
        "no json",
    };
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        struct scan *scan = NULL;
        int worker = engine_worker((gint64)i);
        run_until_ready(true);
        scan = pool_scan(t.pool, fd, play_on_done, &result);
        json_int_t id = worker_take(worker, "x");
        g_autofree char *lie = g_strdup(lies[i]);
        if (strstr(lie, "%d") != NULL) {
            char **halves = g_strsplit(lie, "%d", 2);
            g_free(lie);
            lie = g_strdup_printf("%s%d%s", halves[0], (int)id, halves[1]);
            g_strfreev(halves);
        }
        assert_int_equal(write(worker, lie, strlen(lie)), (ssize_t)strlen(lie));
        engine_expect("kill", (gint64)i);
        assert_int_equal(result.calls, 0);
        scan_cancel(scan);
        close(worker);
    }
    close(fd);
}

static void
test_wrong_id(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(7);
    run_until_ready(true);
    struct scan *scan = pool_scan(t.pool, fd, play_on_done, &result);
    json_int_t id = worker_take(worker, "x");
    worker_answer(worker, id + 1, NULL, false);
    engine_expect("kill", 7);
    assert_int_equal(result.calls, 0);
    scan_cancel(scan);
    close(worker);

    /* Who speaks without being asked could answer for the next message. */
    worker = engine_worker(8);
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    id = worker_take(worker, "x");
    worker_answer(worker, id, NULL, false);
    check_result(&result, NULL, false);
    worker_answer(worker, id, NULL, false);
    engine_expect("kill", 8);
    close(worker);
    close(fd);
}

static void
test_deadline(void **state)
{
    struct result result = {0};
    int fd = message("slow");
    (void)state;
    pool_free(t.pool);
    t.settings.scan_timeout = 1;
    assert_int_equal(pool_new(t.event, &t.settings, &t.pool), 0);
    engine_accept("ready");
    int first = engine_worker(1);
    run_until_ready(true);
    gint64 begin = g_get_monotonic_time();
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    (void)worker_take(first, "slow");
    engine_expect("kill", 1); /* it is still alive, so it must be ended */
    assert_true(g_get_monotonic_time() - begin >= 900 * G_TIME_SPAN_MILLISECOND);
    int second = engine_worker(2);
    (void)worker_take(second, "slow");
    check_result(&result, "two workers were lost over it", true);
    close(first);
    close(second);
    close(fd);
}

static void
test_no_worker_in_time(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    pool_free(t.pool);
    t.settings.scan_timeout = 1;
    assert_int_equal(pool_new(t.event, &t.settings, &t.pool), 0);
    engine_accept("ready");
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    check_result(&result, "no worker became free in time", false);
    close(fd);
}

static void
test_engine_goes_and_comes(void **state)
{
    struct result scanning = {0};
    struct result waiting = {0};
    struct result later = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &scanning);
    (void)worker_take(worker, "x");
    (void)pool_scan(t.pool, fd, play_on_done, &waiting);
    engine_close();
    check_result(&scanning, "the scan engine has gone", false);
    check_result(&waiting, "the scan engine has gone", false);
    assert_false(pool_ready(t.pool));
    close(worker);
    engine_accept("ready");
    worker = engine_worker(1); /* numbers begin anew */
    run_until_ready(true);
    (void)pool_scan(t.pool, fd, play_on_done, &later);
    worker_answer(worker, worker_take(worker, "x"), NULL, false);
    check_result(&later, NULL, false);
    close(worker);
    close(fd);
}

static void
test_attach_refused(void **state)
{
    (void)state;
    run_until_readable(t.listener);
    t.sock = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
    engine_expect("status", 0);
    engine_send(json_pack("{s:b, s:s}", "ok", 1, "state", "ready"), -1);
    engine_expect("attach", 0);
    engine_send(json_pack("{s:b}", "ok", 0), -1);
    int refused = t.sock;
    engine_accept("ready"); /* it tries again */
    run_until_ready(true);
    close(refused);
}

/* An engine that the package's upgrade has left behind, or the other way round. */
static void
test_another_protocol(void **state)
{
    static const char *const said[] = {"[7, 9]", "[0, 0]", "[3, 2]", "\"1\"", "[1]"};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(said); i++) {
        run_until_readable(t.listener);
        t.sock = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
        engine_expect("status", 0);
        json_t *answer = json_pack("{s:b, s:s, s:o}", "ok", 1, "state", "ready", "protocol",
                                   json_loads(said[i], JSON_DECODE_ANY, NULL));
        engine_send(answer, -1);
        run_until_readable(t.sock);
        json_t *got = NULL;
        assert_int_equal(packet_receive(t.sock, &got, NULL), 0); /* hung up, never attached */
        assert_false(pool_ready(t.pool));
        json_t *status = pool_status(t.pool);
        const char *why = json_string_value(json_object_get(status, "engine_error"));
        assert_non_null(strstr(why, "postern-engine "));
        json_decref(status);
        close(t.sock);
    }
    engine_accept("ready"); /* it was restarted; one that says no version speaks the first */
    run_until_ready(true);
    json_t *status = pool_status(t.pool);
    assert_true(json_is_null(json_object_get(status, "engine_error")));
    json_decref(status);
}

static void
test_cancel(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(5);
    run_until_ready(true);
    struct scan *scan = pool_scan(t.pool, fd, play_on_done, &result);
    struct scan *queued = pool_scan(t.pool, fd, play_on_done, &result);
    (void)worker_take(worker, "x");
    scan_cancel(queued);
    scan_cancel(scan);
    engine_expect("kill", 5); /* it would go on working for nobody */
    close(worker);
    worker = engine_worker(6);
    struct result next = {0};
    (void)pool_scan(t.pool, fd, play_on_done, &next);
    worker_answer(worker, worker_take(worker, "x"), NULL, false);
    check_result(&next, NULL, false);
    assert_int_equal(result.calls, 0);
    scan_cancel(NULL);
    close(worker);
    close(fd);
}

static void
expect_end(int worker)
{
    char byte;
    run_until_readable(worker);
    assert_int_equal(recv(worker, &byte, sizeof byte, 0), 0);
    close(worker);
}

static void
send_release(gint64 one, gint64 two)
{
    engine_send(json_pack("{s:s, s:[I, I]}", "event", "release", "workers", (json_int_t)one,
                          (json_int_t)two),
                -1);
}

/* Workers of before go one for one: who is idle at once, who is busy with the end of its scan. */
static void
test_release(void **state)
{
    struct result busy = {0};
    struct result waiting = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int one = engine_worker(1);
    run_until_ready(true);
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &busy));
    json_int_t id = worker_take(one, "x");
    int two = engine_worker(2);
    send_release(1, 2);
    expect_end(two);
    int three = engine_worker(3);
    send_release(1, 9);
    worker_answer(one, id, NULL, false);
    check_result(&busy, NULL, false);
    expect_end(one);
    /* Three stays: it was not named. */
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &waiting));
    worker_answer(three, worker_take(three, "x"), NULL, false);
    check_result(&waiting, NULL, false);
    close(three);
    close(fd);
}

/* One that was to go and ends by itself is one that has gone. */
static void
test_release_of_one_that_retires(void **state)
{
    struct result busy = {0};
    struct result other = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int one = engine_worker(1);
    run_until_ready(true);
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &busy));
    json_int_t id = worker_take(one, "x");
    send_release(1, 2);
    while (sd_event_run(t.event, 0) > 0) {
    }
    worker_answer(one, id, NULL, true);
    check_result(&busy, NULL, false);
    close(one);
    int two = engine_worker(2);
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &other));
    worker_answer(two, worker_take(two, "x"), NULL, false);
    check_result(&other, NULL, false);
    json_auto_t *status = pool_status(t.pool);
    assert_int_equal(json_integer_value(json_object_get(status, "workers")), 1);
    close(two);
    close(fd);
}

static void
send_wish(int quiet)
{
    engine_send(json_pack("{s:s, s:s, s:{s:i}}", "event", "state", "state", "ready", "adoption",
                          "quiet", quiet),
                -1);
}

/* Told when nothing was scanned for so long; never where another node scans meanwhile. */
static void
test_quiet(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    int one = engine_worker(1);
    run_until_ready(true);
    pool_tell_quiet(t.pool, false);
    send_wish(1);
    assert_non_null(pool_scan(t.pool, fd, play_on_done, &result));
    worker_answer(one, worker_take(one, "x"), NULL, false);
    check_result(&result, NULL, false);
    assert_int_equal(recv(t.sock, &(char){0}, 1, MSG_DONTWAIT), -1);
    gint64 before = g_get_monotonic_time();
    pool_tell_quiet(t.pool, true);
    engine_expect("quiet", 0);
    assert_true(g_get_monotonic_time() - before >= G_USEC_PER_SEC);
    close(one);
    close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, play_setup, play_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_scan),
        TEST(test_release),
        TEST(test_release_of_one_that_retires),
        TEST(test_quiet),
        TEST(test_by_another),
        TEST(test_queue_is_in_order),
        TEST(test_not_ready),
        TEST(test_worker_dies),
        TEST(test_second_death_is_the_end),
        TEST(test_gone_after_the_answer),
        TEST(test_lies),
        TEST(test_wrong_id),
        TEST(test_deadline),
        TEST(test_no_worker_in_time),
        TEST(test_engine_goes_and_comes),
        TEST(test_attach_refused),
        TEST(test_another_protocol),
        TEST(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

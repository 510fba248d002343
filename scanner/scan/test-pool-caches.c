/* SPDX-License-Identifier: GPL-2.0-only */
/* The pool's caches, seen from both ends: who asks for a scan, and the workers. */
#include "test-play.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "digest.h"
#include "packet.h"

#define KEY "00000000000000000000000000000000000000000000000000000000000000aa"

static int
setup(void **state)
{
    int rc = play_setup(state);
    /* Once more, with what play_setup() leaves off. */
    pool_free(t.pool);
    t.settings.worker_age = 600;
    t.settings.verdict_cache = 1 << 20;
    t.settings.part_cache = 1 << 20;
    assert_int_equal(pool_new(t.event, &t.settings, &t.pool), 0);
    return rc;
}

static void
assert_no_request(int worker)
{
    struct pollfd idle = {.fd = worker, .events = POLLIN};
    assert_int_equal(poll(&idle, 1, 0), 0);
}

static json_int_t
counter(const char *cache, const char *name)
{
    json_auto_t *status = pool_status(t.pool);
    return json_integer_value(json_object_get(json_object_get(status, cache), name));
}

static void
scan_once(int worker, int fd, const char *text, const char *detection)
{
    struct result result = {0};
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    worker_answer(worker, worker_take(worker, text), detection, false);
    check_result(&result, NULL, false);
}

static void
test_the_same_message_needs_no_worker(void **state)
{
    struct result again = {0};
    int fd = message("hello");
    int other = message("hello!");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    scan_once(worker, fd, "hello", "Eicar");
    (void)pool_scan(t.pool, fd, play_on_done, &again);
    assert_int_equal(again.calls, 0); /* never from within */
    check_result(&again, NULL, false);
    assert_int_equal(again.detections, 1);
    assert_int_equal(again.worker, 1); /* who said so */
    assert_no_request(worker);
    scan_once(worker, other, "hello!", NULL);
    assert_int_equal(counter("verdict_cache", "hits"), 1);
    close(worker);
    close(fd);
    close(other);
}

/* What replaces parts of a message is for another worker to see, not for a memory. */
static void
test_the_second_opinion_is_a_scan(void **state)
{
    struct result again = {0};
    int fd = message("hello");
    (void)state;
    engine_accept("ready");
    int first = engine_worker(1);
    run_until_ready(true);
    scan_once(first, fd, "hello", NULL);
    int second = engine_worker(2);
    (void)pool_scan_by_another(t.pool, fd, 1, play_on_done, &again);
    worker_answer(second, worker_take(second, "hello"), NULL, false);
    check_result(&again, NULL, false);
    close(first);
    close(second);
    close(fd);
}

static void
engine_says(const char *generation, gint64 newest, bool test_only)
{
    engine_send(json_pack("{s:s, s:s, s:s, s:I, s:b}", "event", "state", "state", "ready",
                          "generation", generation, "newest", (json_int_t)newest, "test_only",
                          (int)test_only),
                -1);
    for (const char *now = NULL; g_strcmp0(now, generation) != 0;
         now = json_string_value(json_object_get(pool_engine(t.pool), "generation"))) {
        assert_true(sd_event_run(t.event, 10 * G_USEC_PER_SEC) > 0);
    }
}

/* Who wants nothing called clean by old signatures does not want it by none. */
static void
test_age_that_nobody_knows(void **state)
{
    (void)state;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    assert_true(pool_signatures_age(t.pool) == POOL_AGE_UNKNOWN);
    engine_accept("ready");
    run_until_ready(true);
    assert_true(pool_signatures_age(t.pool) == POOL_AGE_UNKNOWN);
    engine_says("a", now - 1000, false);
    assert_in_range(pool_signatures_age(t.pool), 1000, 1100);
    engine_says("b", now + 1000, false);
    assert_int_equal(pool_signatures_age(t.pool), 0);
    engine_says("builtin", 0, true);
    assert_true(pool_signatures_age(t.pool) == POOL_AGE_UNKNOWN);
}

static void
test_another_generation_asks_again(void **state)
{
    int fd = message("hello");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    scan_once(worker, fd, "hello", NULL);
    engine_send(json_pack("{s:s, s:s, s:s}", "event", "state", "state", "ready", "generation", "b"),
                -1);
    while (counter("verdict_cache", "entries") > 0) {
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
    scan_once(worker, fd, "hello", NULL);
    assert_int_equal(counter("verdict_cache", "entries"), 0); /* it has the old signatures */
    close(worker);
    close(fd);
}

static void
test_a_worker_that_died_is_forgotten(void **state)
{
    int fd = message("hello");
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    scan_once(worker, fd, "hello", NULL);
    assert_int_equal(counter("verdict_cache", "entries"), 1);
    engine_send(json_pack("{s:s, s:i, s:s}", "event", "gone", "worker", 1, "cause", "signal 11"),
                -1);
    while (counter("verdict_cache", "entries") > 0) {
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
    close(worker);
    close(fd);
}

/* Its sum is made in a thread. */
static int
large_message(void)
{
    int fd = message("x");
    assert_int_equal(ftruncate(fd, DIGEST_NOW_MAX + 1), 0);
    return fd;
}

static void
answer_large(int worker)
{
    json_auto_t *request = NULL;
    int fd = -1;
    run_until_readable(worker);
    assert_int_equal(packet_receive(worker, &request, &fd), 1);
    close(fd);
    worker_answer(worker, json_integer_value(json_object_get(request, "id")), NULL, false);
}

static void
test_a_large_message(void **state)
{
    struct result first = {0};
    struct result again = {0};
    int fd = large_message();
    (void)state;
    engine_accept("ready");
    int worker = engine_worker(1);
    run_until_ready(true);
    scan_cancel(pool_scan(t.pool, fd, play_on_done, &first));
    (void)pool_scan(t.pool, fd, play_on_done, &first);
    answer_large(worker);
    check_result(&first, NULL, false);
    (void)pool_scan(t.pool, fd, play_on_done, &again);
    check_result(&again, NULL, false);
    assert_no_request(worker);
    close(worker);
    close(fd);
}

static bool
ask(int worker, const char *key)
{
    json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", key);
    json_auto_t *answer = NULL;
    assert_int_equal(packet_send(worker, question, -1), 0);
    run_until_readable(worker);
    assert_int_equal(packet_receive(worker, &answer, NULL), 1);
    return json_is_true(json_object_get(answer, "known"));
}

/* A scan of TEXT, in which the worker asks for a part; not known, it reports it. */
static bool
scan_with_part(int worker, const char *text)
{
    struct result result = {0};
    int fd = message(text);
    g_autoptr(facts_t) facts = facts_new();
    facts->complete = true;
    (void)pool_scan(t.pool, fd, play_on_done, &result);
    json_int_t id = worker_take(worker, text);
    bool known = ask(worker, KEY);
    json_auto_t *answer =
        json_pack("{s:I, s:o, s:b, s:{s:o}}", "id", id, "facts", facts_to_json(facts), "retire", 0,
                  "parts", KEY, facts_to_json(facts));
    assert_int_equal(packet_send(worker, answer, -1), 0);
    check_result(&result, NULL, false);
    close(fd);
    return known;
}

static void
test_a_part_that_two_workers_know(void **state)
{
    (void)state;
    engine_accept("ready");
    int first = engine_worker(1);
    run_until_ready(true);
    assert_false(scan_with_part(first, "a"));
    assert_false(scan_with_part(first, "b"));
    assert_false(scan_with_part(first, "c"));
    int second = engine_worker(2); /* the last that came is the next that is asked */
    while (pool_ready(t.pool) && counter("part_cache", "entries") == 1) {
        json_auto_t *status = pool_status(t.pool);
        if (json_integer_value(json_object_get(status, "workers")) == 2) {
            break;
        }
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
    assert_false(scan_with_part(second, "d"));
    assert_true(scan_with_part(second, "e"));
    close(first);
    close(second);
}

static void
test_questions_out_of_place(void **state)
{
    struct result result = {0};
    int fd = message("x");
    (void)state;
    engine_accept("ready");
    /* Without a scan. */
    int worker = engine_worker(1);
    run_until_ready(true);
    json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", KEY);
    assert_int_equal(packet_send(worker, question, -1), 0);
    engine_expect("kill", 1);
    close(worker);
    /* Nonsense. */
    worker = engine_worker(2);
    run_until_ready(true);
    struct scan *scan = pool_scan(t.pool, fd, play_on_done, &result);
    (void)worker_take(worker, "x");
    json_auto_t *nonsense = json_pack("{s:s, s:s}", "op", "known", "key", "x");
    assert_int_equal(packet_send(worker, nonsense, -1), 0);
    engine_expect("kill", 2);
    assert_int_equal(result.calls, 0);
    scan_cancel(scan);
    close(worker);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, play_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_message_needs_no_worker), TEST(test_the_second_opinion_is_a_scan),
        TEST(test_another_generation_asks_again),    TEST(test_age_that_nobody_knows),
        TEST(test_a_worker_that_died_is_forgotten),  TEST(test_a_large_message),
        TEST(test_a_part_that_two_workers_know),     TEST(test_questions_out_of_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

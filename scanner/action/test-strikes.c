/* SPDX-License-Identifier: GPL-2.0-only */
/* Strikes outlive the process; forged mails with the text of a good one do not harm that. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "format.h"
#include "strikes.h"
#include "test-fixture.h"

static const char body[] = "00000000000000000000000000000000000000000000000000000000000000aa";

struct bench {
    struct fixture *fixture;
    sd_event *event;
    struct storage *storage;
    struct strikes *strikes;
    int answers;
    int result;
    guint64 count;
};

static void
on_fatal(void *data, int error, const char *text)
{
    (void)data;
    fail_msg("fatal: %d %s", error, text);
}

static void
bench_open(struct bench *b)
{
    char *error = NULL;
    assert_int_equal(storage_new(b->event, b->fixture->settings, FORMAT_NEWEST, on_fatal, b,
                                 &b->storage, &error),
                     0);
    b->strikes = strikes_new(b->fixture->settings, b->storage);
}

static void
bench_close(struct bench *b)
{
    storage_free(g_steal_pointer(&b->storage));
    strikes_free(g_steal_pointer(&b->strikes));
}

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    void *fixture;
    assert_int_equal(fixture_setup(&fixture), 0);
    b->fixture = fixture;
    b->fixture->settings->poison_strikes = 3;
    b->fixture->settings->poison_age = 3600;
    assert_true(sd_event_new(&b->event) >= 0);
    bench_open(b);
    *data = b;
    return 0;
}

static int
teardown(void **data)
{
    struct bench *b = *data;
    void *fixture = b->fixture;
    bench_close(b);
    sd_event_unref(b->event);
    g_free(b);
    return fixture_teardown(&fixture);
}

static void
on_added(void *data, int result, guint64 count)
{
    struct bench *b = data;
    b->answers++;
    b->result = result;
    b->count = count;
}

/* How many the message has after one more. */
static guint64
add(struct bench *b, const char *body_hash, int fd)
{
    int answers = b->answers;
    strikes_add(b->strikes, body_hash, fd, on_added, b);
    assert_int_equal(b->answers, answers); /* never from within */
    while (b->answers == answers) {
        assert_true(sd_event_run(b->event, 10 * G_USEC_PER_SEC) > 0);
    }
    assert_int_equal(b->result, 0);
    return b->count;
}

static int
message(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

/* Jobs run in their order: when another is done, the reading at the start is. */
static void
wait_for_load(struct bench *b)
{
    int fd = message("Subject: another\r\n\r\n");
    (void)add(b, body, fd);
    close(fd);
}

static void
test_survives(void **data)
{
    struct bench *b = *data;
    int fd = message("Received: one\r\n\tfolded\r\nSubject: x\r\nMessage-Id: <1@a>\r\n\r\nbody");
    int retry = message("received: two\r\nSubject: x\r\nmessage-ID: <2@a>\r\nDate: now\r\n"
                        "ARC-Seal: i=1\r\n\r\nbody");
    assert_int_equal(strikes_count(b->strikes, body, fd), 0);
    assert_int_equal(add(b, body, fd), 1);
    assert_int_equal(add(b, body, retry), 2);
    assert_false(strikes_are_enough(b->strikes, 2));
    bench_close(b); /* as a failover does */
    bench_open(b);
    wait_for_load(b);
    assert_int_equal(strikes_count(b->strikes, body, fd), 2);
    assert_int_equal(add(b, body, fd), 3);
    assert_true(strikes_are_enough(b->strikes, strikes_count(b->strikes, body, retry)));
    close(fd);
    close(retry);
}

static void
test_others_are_not_meant(void **data)
{
    struct bench *b = *data;
    int fd = message("From: forger\r\nX-Evil: crash\r\nSubject: news\r\n\r\nbody");
    int news = message("From: paper\r\nSubject: news\r\n\r\nbody");
    static const char other[] = "00000000000000000000000000000000000000000000000000000000000000bb";
    for (int i = 0; i < 3; i++) {
        (void)add(b, body, fd);
    }
    assert_int_equal(strikes_count(b->strikes, body, fd), 3);
    assert_int_equal(strikes_count(b->strikes, body, news), 0);
    assert_int_equal(strikes_count(b->strikes, other, fd), 0);
    close(fd);
    close(news);
}

static int
make_old(struct state *state)
{
    int rc = state_begin(state);
    return rc < 0 ? rc
                  : state_end(state, db_exec(state_db(state), "UPDATE strike SET last = last - "
                                                              "3601"));
}

static void
test_forgotten(void **data)
{
    struct bench *b = *data;
    int fd = message("Subject: old\r\n\r\n");
    (void)add(b, body, fd);
    (void)add(b, body, fd);
    bench_close(b);
    struct state *state = fixture_open(b->fixture);
    assert_int_equal(make_old(state), 0);
    state_close(state);
    bench_open(b);
    wait_for_load(b);
    assert_int_equal(strikes_count(b->strikes, body, fd), 0);
    assert_int_equal(add(b, body, fd), 1);
    close(fd);
}

static int
fill(struct state *state)
{
    int rc = state_begin(state);
    return rc < 0 ? rc
                  : state_end(state, db_exec(state_db(state),
                                             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
                                             "i + 1 FROM n WHERE i < 10000) INSERT INTO strike "
                                             "SELECT 'k' || i, 'b' || i, 1, unixepoch() - 600 + i "
                                             "/ 100 FROM n"));
}

/* With ten thousand others known, the next one is counted all the same. */
static void
test_full(void **data)
{
    struct bench *b = *data;
    int fd = message("Subject: new\r\n\r\n");
    int first = message("Subject: first\r\n\r\n");
    (void)add(b, body, first);
    bench_close(b);
    struct state *state = fixture_open(b->fixture);
    assert_int_equal(fill(state), 0);
    state_close(state);
    bench_open(b);
    wait_for_load(b);
    assert_int_equal(add(b, body, fd), 1);
    assert_int_equal(strikes_count(b->strikes, body, fd), 1);
    assert_int_equal(add(b, body, fd), 2);
    assert_int_equal(strikes_count(b->strikes, body, fd), 2);
    close(first);
    close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_survives),
        TEST(test_others_are_not_meant),
        TEST(test_forgotten),
        TEST(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

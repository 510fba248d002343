/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "durable.h"
#include "health.h"
#include "hysteresis.h"
#include "packet.h"
#include "text.h"

static void
check_escape(const char *raw, size_t max, const char *expected)
{
    g_autofree char *got = text_escape(raw, max);
    assert_string_equal(got, expected);
}

static void
test_text_escape(void **state)
{
    (void)state;
    check_escape(NULL, 10, "-");
    check_escape("plain", 10, "plain");
    check_escape("gr\xc3\xbc\xc3\x9f", 20, "gr\xc3\xbc\xc3\x9f");
    check_escape("a\nb\\", 20, "a\\x0ab\\x5c");
    check_escape("\xff\xc3", 20, "\\xff\\xc3");
    check_escape("abcdef", 3, "abc...");
    check_escape("\x1b[31m", 20, "\\x1b[31m");
}

static void
test_text_size(void **state)
{
    unsigned long long n = 0;
    (void)state;
    assert_int_equal(text_size_parse("100M", &n), 0);
    assert_int_equal(n, 104857600);
    assert_int_equal(text_size_parse("7", &n), 0);
    assert_int_equal(n, 7);
    assert_int_equal(text_size_parse("-1", &n), -EINVAL);
    assert_int_equal(text_size_parse("1X", &n), -EINVAL);
    assert_int_equal(text_size_parse("1MM", &n), -EINVAL);
    assert_int_equal(text_size_parse("99999999999999999999", &n), -ERANGE);
    assert_int_equal(text_size_parse("18446744073709551615K", &n), -ERANGE);
}

static void
test_private_dir(void **state)
{
    char top[] = "/tmp/test-private-XXXXXX";
    struct stat st;
    (void)state;
    assert_non_null(mkdtemp(top));
    g_autofree char *parent = g_build_filename(top, "shared", NULL);
    g_autofree char *dir = g_build_filename(parent, "own", NULL);
    mode_t before = umask(077);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(durable_private_dir(dir), 0);
        assert_int_equal(stat(parent, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0755);
        assert_int_equal(stat(dir, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
    }
    g_autofree char *below = g_build_filename(parent, "a", NULL);
    g_autofree char *public = g_build_filename(below, "b", NULL);
    assert_int_equal(durable_public_dir(public), 0);
    assert_int_equal(stat(public, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    (void)umask(before);
    assert_int_equal(rmdir(public) | rmdir(below), 0);
    assert_int_equal(rmdir(dir) | rmdir(parent) | rmdir(top), 0);
}

static void
test_durable_write(void **state)
{
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "file", NULL);
    g_autofree char *text = NULL;
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char one[] = "one ";
    char two[] = "two";
    struct iovec iov[] = {{one, 4}, {two, 3}};
    assert_int_equal(durable_write(dirfd, "file", iov, 2, 0600), 0);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, "one two");

    /* A write that fails half-way leaves the old file and no temporary one. */
    struct rlimit old;
    struct rlimit small = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_cur = 2;
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = durable_write(dirfd, "file", iov, 1, 0600);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, -EFBIG);
    g_clear_pointer(&text, g_free);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, "one two");
    assert_int_equal(unlinkat(dirfd, "file", 0), 0);

    /* So does one that cannot be put in its place. */
    assert_int_equal(durable_mkdir(dirfd, "file", 0700), 0);
    assert_int_equal(durable_write(dirfd, "file", iov, 2, 0600), -EISDIR);
    assert_int_equal(unlinkat(dirfd, "file", AT_REMOVEDIR), 0);
    close(dirfd);
    assert_int_equal(rmdir(dir), 0); /* fails when a temporary file was left */
}

static void
test_packet_round_trip(void **state)
{
    int pair[2];
    int fd = -1;
    json_t *got = NULL;
    (void)state;
    assert_int_equal(packet_pair(pair), 0);
    json_t *sent = json_pack("{s:s}", "op", "hello");
    assert_int_equal(packet_send(pair[0], sent, pair[0]), 0);
    assert_int_equal(packet_receive(pair[1], &got, &fd), 1);
    assert_true(json_equal(sent, got));
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    json_decref(got);

    /* A descriptor that nobody asked for is refused and not leaked. */
    assert_int_equal(packet_send(pair[0], sent, pair[0]), 0);
    assert_int_equal(packet_receive(pair[1], &got, NULL), -EBADMSG);
    json_decref(sent);
    close(pair[0]);
    assert_int_equal(packet_receive(pair[1], &got, &fd), 0);
    close(pair[1]);
}

static void
test_packet_hostile(void **state)
{
    static const char *const bad[] = {"[]",   "1",      "{", "{}x", "{\"a\":1,\"a\":2}",
                                      "\xff", "{\"a\":"};
    int pair[2];
    json_t *got = NULL;
    (void)state;
    assert_int_equal(packet_pair(pair), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(write(pair[0], bad[i], strlen(bad[i])), (ssize_t)strlen(bad[i]));
        assert_int_equal(packet_receive(pair[1], &got, NULL), -EBADMSG);
    }
    g_autofree char *huge = g_malloc0(PACKET_MAX + 1);
    memset(huge, ' ', PACKET_MAX + 1);
    memcpy(huge, "{}", 2);
    assert_int_equal(write(pair[0], huge, PACKET_MAX + 1), PACKET_MAX + 1);
    assert_int_equal(packet_receive(pair[1], &got, NULL), -EBADMSG);
    close(pair[0]);
    close(pair[1]);
}

static void
test_packet_listen(void **state)
{
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "sock", NULL);
    int first = packet_listen(path, 0600);
    assert_true(first >= 0);
    assert_int_equal(packet_listen(path, 0600), -EADDRINUSE);
    close(first);
    int second = packet_listen(path, 0600); /* the file is there, nobody listens */
    assert_true(second >= 0);
    close(second);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* Each cause by itself, from who may tell it, up to its cap, survives being written and read. */
static void
test_health_words(void **state)
{
    struct health got;
    (void)state;
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        enum health_cause cause = (enum health_cause)i;
        struct health health = {{0}};
        health.level[i] = health_cause_cap(cause);
        g_autofree char *word = health_format(&health);
        bool of_node = health_parse(word, HEALTH_OF_NODE, &got) == 0;
        bool of_service = health_parse(word, HEALTH_OF_SERVICE, &got) == 0;
        assert_true(of_node != of_service);
        assert_true(of_node || health_cause_cap(cause) == HEALTH_YELLOW);
        assert_true(of_service || health_cause_is_told(cause));
        assert_int_equal(health_parse(word, of_node ? HEALTH_OF_NODE : HEALTH_OF_SERVICE, &got), 0);
        assert_memory_equal(&got, &health, sizeof got);
        assert_true(strlen(health_cause_text(cause)) > 0 && strlen(health_cause_todo(cause)) > 0);
    }
}

static void
test_health_whole(void **state)
{
    struct health all = {{0}};
    struct health got;
    (void)state;
    for (unsigned i = HEALTH_MEMORY_PRESSURE; i <= HEALTH_CLOCK_UNSET; i++) {
        all.level[i] = health_cause_cap((enum health_cause)i);
    }
    g_autofree char *word = health_format(&all);
    assert_true(strlen(word) < HEALTH_WORD_MAX);
    assert_int_equal(health_parse(word, HEALTH_OF_NODE, &got), 0);
    assert_memory_equal(&got, &all, sizeof got);
    assert_int_equal(health_parse(word, HEALTH_OF_SERVICE, &got), -EBADMSG);
    assert_int_equal(health_worst(&got), HEALTH_GREEN);
    assert_int_equal(health_parse("", HEALTH_OF_NODE, &got), -EBADMSG);
    assert_int_equal(health_parse("green,", HEALTH_OF_NODE, &got), -EBADMSG);
    struct health busy = {{0}};
    busy.level[HEALTH_BUSY_MEMORY] = HEALTH_YELLOW;
    busy.level[HEALTH_STATE_FULL] = HEALTH_YELLOW;
    health_drop_untold(&busy);
    g_autofree char *told = health_format(&busy);
    assert_string_equal(told, "state-full=yellow");
}

/* G, y, R: samples in, levels out. */
static void
check_hysteresis(const struct hysteresis_rule *rule, const char *samples, const char *levels)
{
    static const char letters[] = "GyR";
    struct hysteresis cause = {0};
    for (size_t i = 0; samples[i] != '\0'; i++) {
        enum health_level sample = (enum health_level)(strchr(letters, samples[i]) - letters);
        enum health_level got = hysteresis_step(&cause, rule, sample);
        if (letters[got] != levels[i]) {
            fail_msg("%s: at %zu %c instead of %s", samples, i, letters[got], levels);
        }
    }
}

static void
test_hysteresis(void **state)
{
    const struct hysteresis_rule rule = {.needed = 3, .window = 4, .hold = 0};
    const struct hysteresis_rule held = {.needed = 3, .window = 4, .hold = 6};
    const struct hysteresis_rule none = {.needed = 1, .window = 1, .hold = 0};
    (void)state;
    check_hysteresis(&rule, "GGGGG", "GGGGG");
    check_hysteresis(&rule, "GRRGGG", "GGGGGG");       /* too few */
    check_hysteresis(&rule, "GRRGRRR", "GGGGRRR");     /* three of four, with a gap */
    check_hysteresis(&rule, "GRRRGGGG", "GGGRRRGG");   /* and three good ones to leave */
    check_hysteresis(&rule, "GRRRGRGRG", "GGGRRRRRR"); /* to and fro: it stays */
    check_hysteresis(&rule, "GyyyRRRyyy", "GGGyyyRRRy");
    check_hysteresis(&rule, "yyGGG", "yyyyG"); /* from the start: at once */
    check_hysteresis(&rule, "RRR", "yyR");     /* but never red for one sample */
    check_hysteresis(&held, "GRRRGGGGGGG", "GGGRRRRRRGG");
    check_hysteresis(&held, "GRRRGGGGGRGGGGGGG", "GGGRRRRRRRRRRRRGG");
    check_hysteresis(&none, "GRGyG", "GRGyG");
    struct hysteresis inherited;
    hysteresis_begin(&inherited, HEALTH_RED);
    assert_int_equal(hysteresis_step(&inherited, &rule, HEALTH_GREEN), HEALTH_RED);
    assert_int_equal(hysteresis_step(&inherited, &rule, HEALTH_GREEN), HEALTH_RED);
    assert_int_equal(hysteresis_step(&inherited, &rule, HEALTH_GREEN), HEALTH_GREEN);
}

/* A later sentence may quote the earlier one. */
static void
test_text_fail(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(text_fail(&error, -5, "one"), -5);
    assert_int_equal(text_fail(&error, -6, "%s and %d", error, 2), -6);
    assert_string_equal(error, "one and 2");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_fail),      cmocka_unit_test(test_text_escape),
        cmocka_unit_test(test_text_size),      cmocka_unit_test(test_durable_write),
        cmocka_unit_test(test_private_dir),    cmocka_unit_test(test_packet_round_trip),
        cmocka_unit_test(test_packet_hostile), cmocka_unit_test(test_packet_listen),
        cmocka_unit_test(test_health_words),   cmocka_unit_test(test_health_whole),
        cmocka_unit_test(test_hysteresis),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

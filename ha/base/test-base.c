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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_escape),    cmocka_unit_test(test_text_size),
        cmocka_unit_test(test_durable_write),  cmocka_unit_test(test_packet_round_trip),
        cmocka_unit_test(test_packet_hostile), cmocka_unit_test(test_packet_listen),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* What listeners share; the milter's own tests have the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <systemd/sd-daemon.h>

#include "listener.h"

static struct {
    sd_event *event;
    char *dir;
    char *path;
    char *lock;
    char *address;
} t;

static int
setup(void **state)
{
    (void)state;
    t.dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    t.path = g_build_filename(t.dir, "sock", NULL);
    t.lock = g_strconcat(t.path, ".lock", NULL);
    t.address = g_strconcat("unix:", t.path, NULL);
    return sd_event_new(&t.event) < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    (void)state;
    sd_event_unref(t.event);
    /* Nothing is left in the directory. */
    int rc = g_rmdir(t.dir);
    g_free(t.address);
    g_free(t.lock);
    g_free(t.path);
    g_free(t.dir);
    return rc;
}

static void
on_accepted(void *data, int fd)
{
    (void)data;
    close(fd);
}

static int
open_with(unsigned mode, struct listener **ret)
{
    const struct listener_options options = {
        .setting = "clamd_listen", .address = t.address, .mode = mode};
    g_autofree char *error = NULL;
    *ret = NULL;
    int rc = listener_open(t.event, &options, on_accepted, NULL, ret, &error);
    if (rc < 0) {
        assert_true(g_str_has_prefix(error, "clamd_listen = unix:"));
    }
    return rc;
}

static void
test_mode_and_lock(void **state)
{
    struct listener *listener;
    struct listener *second;
    struct stat st;
    (void)state;
    assert_int_equal(open_with(0666, &listener), 0);
    assert_int_equal(stat(t.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0666);
    assert_int_equal(stat(t.lock, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(open_with(0, &second), -EADDRINUSE);
    assert_false(listener_is_public(listener));
    listener_free(listener);
    assert_int_equal(stat(t.lock, &st), -1);
    assert_int_equal(open_with(0, &listener), 0);
    listener_free(listener);
}

/* Many start at once on one stale socket: exactly one gets it, and keeps it. */
static void
test_race(void **state)
{
    enum { CHILDREN = 12 };
    int go[2];
    int done[2];
    int hold[2];
    int won = 0;
    (void)state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, t.path);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&addr, sizeof addr), 0);
    close(dead);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    assert_int_equal(pipe(hold), 0);
    for (int i = 0; i < CHILDREN; i++) {
        if (fork() == 0) {
            struct listener *listener;
            char byte;
            t.event = NULL;
            if (sd_event_new(&t.event) < 0) {
                _exit(2);
            }
            close(go[1]);
            close(hold[1]);
            (void)!read(go[0], &byte, 1);
            int rc = open_with(0, &listener);
            byte = rc == 0 ? 'y' : rc == -EADDRINUSE ? 'n' : '?';
            (void)!write(done[1], &byte, 1);
            /* Who has it holds it until all have tried. */
            (void)!read(hold[0], &byte, 1);
            _exit(rc == 0 || rc == -EADDRINUSE ? 0 : 1);
        }
    }
    close(go[0]);
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(write(go[1], "g", 1), 1);
    }
    for (int i = 0; i < CHILDREN; i++) {
        char byte = '?';
        assert_int_equal(read(done[0], &byte, 1), 1);
        assert_int_not_equal(byte, '?');
        won += byte == 'y';
    }
    assert_int_equal(won, 1);
    close(go[1]);
    close(hold[1]);
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    close(hold[0]);
    close(done[0]);
    close(done[1]);
    assert_int_equal(unlink(t.path), 0);
    assert_int_equal(unlink(t.lock), 0);
}

/* As systemd does it, with a socket at descriptor 3; in a child, which has a free one. */
static int
passed_child(const char *passed_path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct listener *listener = NULL;
    g_autofree char *error = NULL;
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    strcpy(addr.sun_path, passed_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 5) < 0 ||
        dup2(fd, SD_LISTEN_FDS_START) < 0) {
        return 10;
    }
    if (fd != SD_LISTEN_FDS_START) {
        close(fd);
    }
    if (sd_event_new(&t.event) < 0) {
        return 9;
    }
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    if (listener_passed_open(&error) != 1) {
        return 11;
    }
    int rc = open_with(0, &listener);
    g_autofree char *left = listener_passed_close();
    listener_free(listener);
    bool is_there = access(passed_path, F_OK) == 0;
    (void)unlink(passed_path);
    g_autofree char *expected = g_strconcat("unix:", passed_path, NULL);
    bool is_other = strcmp(passed_path, t.path) != 0;
    return rc != 0        ? 12
           : !is_there    ? 13
           : is_other     ? (g_strcmp0(left, expected) == 0 ? 0 : 14)
           : left != NULL ? 15
                          : 0;
}

static void
check_passed(const char *path)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        closefrom(SD_LISTEN_FDS_START);
        _exit(passed_child(path));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void
test_passed(void **state)
{
    g_autofree char *other = g_build_filename(t.dir, "other", NULL);
    (void)state;
    check_passed(t.path);
    check_passed(other);
}

static void
test_public(void **state)
{
    static const struct {
        const char *address;
        bool is_public;
    } cases[] = {{"inet:127.0.0.1:0", false}, {"inet:0.0.0.0:0", true}};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct listener *listener = NULL;
        g_autofree char *error = NULL;
        const struct listener_options options = {.setting = "milter_listen",
                                                 .address = cases[i].address};
        assert_int_equal(listener_open(t.event, &options, on_accepted, NULL, &listener, &error), 0);
        assert_int_equal(listener_is_public(listener), cases[i].is_public);
        listener_free(listener);
    }
}

/* The group's address may come after the promotion: RFC 5737's and RFC 3849's are nobody's. */
static void
test_address_to_come(void **state)
{
    static const char *const addresses[] = {"inet:192.0.2.1:0", "inet:[2001:db8::1]:0"};
    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++) {
        const struct listener_options options = {.setting = "clamd_listen",
                                                 .address = addresses[i]};
        struct listener *listener = NULL;
        g_autofree char *error = NULL;
        assert_int_equal(listener_open(t.event, &options, on_accepted, NULL, &listener, &error), 0);
        listener_free(listener);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mode_and_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_passed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_public, setup, teardown),
        cmocka_unit_test_setup_teardown(test_address_to_come, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

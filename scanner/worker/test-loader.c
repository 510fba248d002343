/* SPDX-License-Identifier: GPL-2.0-only */
/* The loader's filter, from inside: what it takes away, and that workers can still be forked. */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "loader.h"

static long
try_exec(void)
{
    static char *const nothing[] = {NULL};
    return execve("/usr/bin/true", nothing, nothing);
}

static long
try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long
try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long
try_unshare(void)
{
    return unshare(CLONE_NEWUSER);
}

static long
try_mount(void)
{
    return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long
try_clone(void)
{
    return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Returns the number of the first attempt that was not refused with EPERM, 0 = all were. */
static int
attempts(void)
{
    static long (*const tries[])(void) = {try_exec,    try_socket, try_ptrace,
                                          try_unshare, try_mount,  try_clone};
    for (size_t i = 0; i < G_N_ELEMENTS(tries); i++) {
        errno = 0;
        if (tries[i]() != -1 || errno != EPERM) {
            return (int)i + 1;
        }
    }
    return 0;
}

static int
confined(void)
{
    g_autofree char *error = NULL;
    if (loader_confine(&error) < 0) {
        return 100;
    }
    if (prctl(PR_GET_SECCOMP) != 2 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        return 101;
    }
    int status;
    pid_t worker = fork();
    if (worker == 0) {
        _exit(7);
    }
    if (worker < 0 || waitpid(worker, &status, 0) != worker || WEXITSTATUS(status) != 7) {
        return 102;
    }
    return attempts();
}

static void
test_loader(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(confined());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

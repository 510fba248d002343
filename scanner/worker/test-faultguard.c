/* SPDX-License-Identifier: GPL-2.0-only */
/* The calls that libclamav swallows failures of: each must be noticed. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "faultguard.h"

static void
assert_fault(const char *call, int error)
{
    struct faultguard_fault faults[4];
    assert_true(faultguard_tripped());
    assert_int_equal(faultguard_faults(faults, 4), 1);
    assert_string_equal(faults[0].call, call);
    assert_int_equal(faults[0].error, error);
    faultguard_start();
    assert_false(faultguard_tripped());
}

static void
test_any_mkdir_counts(void **state)
{
    (void)state;
    faultguard_start();
    assert_int_equal(mkdir("/proc", 0700), -1);
    assert_fault("mkdir", EEXIST);
    assert_int_equal(mkdirat(AT_FDCWD, "/nowhere/x", 0700), -1);
    assert_fault("mkdir", ENOENT);
}

/* That a file is not there is how programs look for files. */
static void
test_absence_is_no_fault(void **state)
{
    (void)state;
    faultguard_start();
    assert_int_equal(open("/nowhere", O_RDONLY), -1);
    assert_null(fopen("/nowhere", "r"));
    assert_null(opendir("/nowhere"));
    assert_false(faultguard_tripped());
}

static void
test_descriptors(void **state)
{
    (void)state;
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    const struct rlimit none = {3, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    faultguard_start();
    assert_int_equal(open("/dev/null", O_RDONLY), -1);
    assert_fault("open", EMFILE);
    assert_int_equal(open64("/dev/null", O_RDONLY), -1);
    assert_fault("open", EMFILE);
    assert_int_equal(openat(AT_FDCWD, "/dev/null", O_RDONLY), -1);
    assert_fault("open", EMFILE);
    assert_int_equal(openat64(AT_FDCWD, "/dev/null", O_RDONLY), -1);
    assert_fault("open", EMFILE);
    assert_null(fopen("/dev/null", "r"));
    assert_fault("fopen", EMFILE);
    assert_int_equal(dup(0), -1);
    assert_fault("dup", EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void
test_no_room(void **state)
{
    (void)state;
    faultguard_start();
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_fault("write", ENOSPC);
    close(fd);
    FILE *file = fopen("/dev/full", "w");
    assert_non_null(file);
    fputs("x", file);
    assert_int_equal(fflush(file), EOF);
    assert_fault("fflush", ENOSPC);
    (void)fclose(file);
    faultguard_stop();
}

static void
test_too_large(void **state)
{
    (void)state;
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    const struct rlimit small = {4096, before.rlim_max};
    int fd = memfd_create("x", MFD_CLOEXEC);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    faultguard_start();
    assert_int_equal(ftruncate(fd, 8192), -1);
    assert_fault("ftruncate", EFBIG);
    assert_int_equal(ftruncate64(fd, 8192), -1);
    assert_fault("ftruncate", EFBIG);
    setrlimit(RLIMIT_FSIZE, &before);
    close(fd);
}

static void
test_memory(void **state)
{
    (void)state;
    faultguard_start();
    assert_ptr_equal(mmap(NULL, SIZE_MAX / 4, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                     MAP_FAILED);
    assert_fault("mmap", ENOMEM);
#ifndef SANITIZERS
    volatile size_t huge = SIZE_MAX / 4;
    assert_null(malloc(huge));
    assert_fault("malloc", ENOMEM);
    assert_null(calloc(huge, 2));
    assert_fault("malloc", ENOMEM);
    assert_null(realloc(NULL, huge));
    assert_fault("malloc", ENOMEM);
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, huge), ENOMEM);
    assert_fault("malloc", ENOMEM);
#endif
}

/* What happens between two scans is nobody's fault. */
static void
test_only_while_watching(void **state)
{
    (void)state;
    faultguard_start();
    faultguard_stop();
    assert_int_equal(mkdir("/proc", 0700), -1);
    assert_false(faultguard_tripped());
    faultguard_start();
    assert_int_equal(mkdir("/proc", 0700), -1);
    assert_int_equal(mkdir("/proc", 0700), -1);
    faultguard_stop();
    assert_true(faultguard_tripped());
    assert_fault("mkdir", EEXIST);
}

#ifndef SANITIZERS
#define VOID 77

/* It may not be written. */
static const char *volatile readonly = "text";

static void
write_nowhere(void)
{
    *(volatile char *)(uintptr_t)readonly = 1;
}

static void
trap(void)
{
    (void)raise(SIGTRAP);
}

/* How a process ends, as wait() tells, that does CRASH, after a failure or none. */
static int
end_of(void (*crash)(void), bool after_failure)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        faultguard_crash_with(VOID);
        faultguard_start();
        if (after_failure) {
            volatile size_t huge = SIZE_MAX / 4;
            assert_null(malloc(huge));
        }
        crash();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* What crashes for want of memory is not the message's doing; all else is. */
static void
test_crashes(void **state)
{
    void (*const crashes[])(void) = {write_nowhere, trap, abort};
    (void)state;
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) {
        int status = end_of(crashes[i], true);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), VOID);
        status = end_of(crashes[i], false);
        assert_true(WIFSIGNALED(status));
    }
    assert_int_equal(WTERMSIG(end_of(write_nowhere, false)), SIGSEGV);
}
#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_mkdir_counts),
        cmocka_unit_test(test_absence_is_no_fault),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_only_while_watching),
#ifndef SANITIZERS
        cmocka_unit_test(test_crashes),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

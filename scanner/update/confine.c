/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libfreshclam reads the answer to its first question into memory, however long that is. */
#define MEMORY (2ULL * 1024 * 1024 * 1024)
#define DESCRIPTORS 256
/* Linux 6.2, after the headers of Debian 12. */
#define ACCESS_TRUNCATE (1ULL << 14)

static int
limit(int what, guint64 most)
{
    const struct rlimit rlimit = {.rlim_cur = most, .rlim_max = most};
    return setrlimit((__rlimit_resource_t)what, &rlimit);
}

static int
set_limits(guint64 bytes, guint64 seconds)
{
    /* A write beyond the limit then fails instead of killing the process. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
#ifndef SANITIZERS
    if (limit(RLIMIT_AS, MEMORY) < 0) {
        return -1;
    }
#endif
    return limit(RLIMIT_FSIZE, bytes) < 0 || (seconds > 0 && limit(RLIMIT_CPU, seconds) < 0) ||
                   limit(RLIMIT_NOFILE, DESCRIPTORS) < 0 || limit(RLIMIT_CORE, 0) < 0
               ? -1
               : 0;
}

static int
allow(int ruleset, int fd, guint64 access)
{
    const struct landlock_path_beneath_attr beneath = {.allowed_access = access, .parent_fd = fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
}

static int
allow_path(int ruleset, const char *path, guint64 access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    int rc = fd < 0 ? -1 : allow(ruleset, fd, access);
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int
lock_land(int dir)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    /* The first version forbids every rename from one directory to another. */
    if (version < 2) {
        return 0;
    }
    guint64 known = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    known |= LANDLOCK_ACCESS_FS_REFER;
    known |= version >= 3 ? ACCESS_TRUNCATE : 0;
    guint64 reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    guint64 writing = LANDLOCK_ACCESS_FS_WRITE_FILE | (known & ACCESS_TRUNCATE);
    guint64 own = reading | writing | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                  LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER;
    const struct landlock_ruleset_attr attr = {.handled_access_fs = known};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0) {
        return -1;
    }
    int rc = allow_path(ruleset, "/", reading) < 0 ||
                     allow_path(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | writing) < 0 ||
                     allow(ruleset, dir, own) < 0 ||
                     syscall(SYS_landlock_restrict_self, ruleset, 0) < 0
                 ? -1
                 : 0;
    close(ruleset);
    return rc;
}

/* A child would outlive it, and go on writing. clone3(2) has its flags in memory, where no filter
 * sees them; without it the C library takes clone(2). */
static int
allow_threads_only(scmp_filter_ctx filter)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    return rc < 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int
filter_calls(void)
{
    static const int forbidden[] = {
        SCMP_SYS(fork),
        SCMP_SYS(vfork),
        SCMP_SYS(execve),
        SCMP_SYS(execveat),
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(kill),
        SCMP_SYS(tkill),
        SCMP_SYS(mount),
        SCMP_SYS(unshare),
        SCMP_SYS(setns),
        SCMP_SYS(bpf),
        SCMP_SYS(keyctl),
        SCMP_SYS(add_key),
        SCMP_SYS(request_key),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(io_uring_setup),
        SCMP_SYS(pidfd_getfd),
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int rc = filter == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < G_N_ELEMENTS(forbidden) && rc == 0; i++) {
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), forbidden[i], 0);
    }
    rc = rc == 0 ? allow_threads_only(filter) : rc;
    rc = rc == 0 ? seccomp_load(filter) : rc;
    seccomp_release(filter);
    errno = -rc;
    return rc < 0 ? -1 : 0;
}

const char *
confine(int dir, guint64 bytes, guint64 seconds)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return "death with the parent";
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return "no_new_privs";
    }
    if (set_limits(bytes, seconds) < 0) {
        return "resource limits";
    }
    if (lock_land(dir) < 0) {
        return "landlock";
    }
    return filter_calls() < 0 ? "system calls" : NULL;
}

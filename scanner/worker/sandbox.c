/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rights that came after the headers of Debian 12 (kernel documentation, userspace-api/landlock):
 * TRUNCATE in version 3, IOCTL_DEV in version 5. */
#define ACCESS_TRUNCATE (1ULL << 14)
#define ACCESS_IOCTL_DEV (1ULL << 15)

#define DESCRIPTORS_MAX 256

/* Sanitizers map terabytes and call what they like: a build for tests goes without those two. */
#ifdef SANITIZERS
#define WATCHED_BY_SANITIZERS 1
#else
#define WATCHED_BY_SANITIZERS 0
#endif

struct sandbox {
    int landlock;
    struct sock_fprog filter;
};

/* Measured to be needed by libclamav and GMime, and some that do no harm. Not kill and tgkill:
 * workers could end each other where they share a user. */
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(readv),
    SCMP_SYS(writev),        SCMP_SYS(pread64),      SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),         SCMP_SYS(open),         SCMP_SYS(openat),
    SCMP_SYS(close),         SCMP_SYS(stat),         SCMP_SYS(lstat),
    SCMP_SYS(fstat),         SCMP_SYS(newfstatat),   SCMP_SYS(statx),
    SCMP_SYS(access),        SCMP_SYS(faccessat),    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),      SCMP_SYS(readlinkat),   SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),    SCMP_SYS(mkdir),        SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),         SCMP_SYS(unlink),       SCMP_SYS(unlinkat),
    SCMP_SYS(rename),        SCMP_SYS(renameat),     SCMP_SYS(renameat2),
    SCMP_SYS(ftruncate),     SCMP_SYS(chmod),        SCMP_SYS(fchmod),
    SCMP_SYS(fsync),         SCMP_SYS(fdatasync),    SCMP_SYS(fallocate),
    SCMP_SYS(dup),           SCMP_SYS(munmap),       SCMP_SYS(mremap),
    SCMP_SYS(madvise),       SCMP_SYS(brk),          SCMP_SYS(futex),
    SCMP_SYS(recvmsg),       SCMP_SYS(sendmsg),      SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),        SCMP_SYS(getppid),      SCMP_SYS(gettid),
    SCMP_SYS(getuid),        SCMP_SYS(geteuid),      SCMP_SYS(getgid),
    SCMP_SYS(getegid),       SCMP_SYS(getrandom),    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),       SCMP_SYS(getrusage),    SCMP_SYS(times),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),  SCMP_SYS(time),         SCMP_SYS(sched_yield),
    SCMP_SYS(nanosleep),     SCMP_SYS(poll),         SCMP_SYS(sched_getaffinity),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),   SCMP_SYS(restart_syscall),
};

static const int fcntl_allowed[] = {F_GETFL, F_SETFL,     F_GETFD,
                                    F_SETFD, F_GET_SEALS, F_DUPFD_CLOEXEC};

/* Tried by libraries that live well with a refusal. */
static const struct {
    int call;
    int error;
} refused[] = {
    {SCMP_SYS(socket), EPERM},
    {SCMP_SYS(clone3), ENOSYS},
    {SCMP_SYS(ioctl), ENOTTY},
    {SCMP_SYS(prlimit64), EPERM},
};

static int
add_rules(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(allowed); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(refused); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO((unsigned)refused[i].error), refused[i].call, 0);
    }
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(fcntl_allowed); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                              SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntl_allowed[i]));
    }
    const int mapping[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(mapping); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, mapping[i], 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
    return rc;
}

/* libseccomp writes a filter only into a file. */
static int
export_filter(scmp_filter_ctx ctx, struct sock_fprog *ret_filter)
{
    struct stat st;
    int fd = memfd_create("filter", MFD_CLOEXEC);
    int rc = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
    if (rc == 0 && fstat(fd, &st) < 0) {
        rc = -errno;
    }
    if (rc == 0) {
        struct sock_filter *code = g_malloc((gsize)st.st_size);
        ret_filter->len = (unsigned short)((size_t)st.st_size / sizeof *code);
        ret_filter->filter = code;
        if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size) {
            rc = -EIO;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

int
sandbox_new(struct sandbox **ret_sandbox, char **error_r)
{
    struct sandbox *sandbox = g_new0(struct sandbox, 1);
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = ctx == NULL ? -ENOMEM : add_rules(ctx);
    if (rc == 0) {
        rc = export_filter(ctx, &sandbox->filter);
    }
    seccomp_release(ctx);
    if (rc < 0) {
        *error_r = g_strdup_printf("the system call filter cannot be made: %s", g_strerror(-rc));
        g_free(sandbox);
        return rc;
    }
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    sandbox->landlock = version < 0 ? 0 : (int)version;
    *ret_sandbox = sandbox;
    return 0;
}

int
sandbox_landlock(const struct sandbox *sandbox)
{
    return sandbox->landlock;
}

static int
limit(__rlimit_resource_t resource, guint64 value)
{
    struct rlimit rlimit = {.rlim_cur = value, .rlim_max = value};
    return setrlimit(resource, &rlimit);
}

/* The size of this process's address space, bytes; 0 when it cannot be read. */
static guint64
address_space(int proc)
{
    char text[64] = "";
    unsigned long long pages = 0;
    int fd = openat(proc, "self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    if (read(fd, text, sizeof text - 1) > 0 && sscanf(text, "%llu", &pages) != 1) {
        pages = 0;
    }
    close(fd);
    return pages * (guint64)sysconf(_SC_PAGESIZE);
}

static int
set_limits(const struct sandbox_worker *worker)
{
    if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, DESCRIPTORS_MAX) < 0 ||
        limit(RLIMIT_NPROC, 0) < 0 || limit(RLIMIT_MEMLOCK, 0) < 0 ||
        limit(RLIMIT_MSGQUEUE, 0) < 0 || limit(RLIMIT_FSIZE, worker->tmp_size) < 0) {
        return -1;
    }
    guint64 now = address_space(worker->proc);
    if (now == 0) {
        errno = EIO;
        return -1;
    }
    return WATCHED_BY_SANITIZERS ? 0 : limit(RLIMIT_AS, now + worker->memory);
}

/* When memory runs out, a worker goes first: it is replaced in milliseconds. */
static int
offer_to_oom_killer(const struct sandbox_worker *worker)
{
    int fd = openat(worker->proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = write(fd, "1000", 4);
    close(fd);
    return n == 4 ? 0 : -1;
}

static int
empty_bounding_set(const struct sandbox_worker *worker)
{
    (void)worker;
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            return -1;
        }
    }
    errno = 0;
    return prctl(PR_SET_SECUREBITS,
                 SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
                     SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                 0, 0, 0);
}

static int
change_user(const struct sandbox_worker *worker)
{
    if (worker->one_user) {
        return 0;
    }
    return setresgid(worker->uid, worker->uid, worker->uid) < 0 ||
                   setresuid(worker->uid, worker->uid, worker->uid) < 0
               ? -1
               : 0;
}

static int
drop_capabilities(const struct sandbox_worker *worker)
{
    (void)worker;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capset, &header, data) < 0 || syscall(SYS_capget, &header, data) < 0) {
        return -1;
    }
    if ((data[0].effective | data[0].permitted | data[0].inheritable | data[1].effective |
         data[1].permitted | data[1].inheritable) != 0) {
        errno = EPERM;
        return -1;
    }
    return 0;
}

static int
enter_tmpdir(const struct sandbox_worker *worker)
{
    return fchdir(worker->tmpdir);
}

/* After the change of user, which clears it. */
static int
die_with_parent(const struct sandbox_worker *worker)
{
    (void)worker;
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

static int
refuse_new_privileges(const struct sandbox_worker *worker)
{
    (void)worker;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Everything that this landlock can forbid is forbidden, but files below the tmpdir. */
static int
enter_landlock(const struct sandbox *sandbox, const struct sandbox_worker *worker)
{
    guint64 known = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    known |= sandbox->landlock >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
    known |= sandbox->landlock >= 3 ? ACCESS_TRUNCATE : 0;
    known |= sandbox->landlock >= 5 ? ACCESS_IOCTL_DEV : 0;
    guint64 files = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER | ACCESS_TRUNCATE;
    struct landlock_ruleset_attr attr = {.handled_access_fs = known};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0) {
        return -1;
    }
    struct landlock_path_beneath_attr beneath = {.allowed_access = files & known,
                                                 .parent_fd = worker->tmpdir};
    int rc = 0;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        rc = -1;
    }
    int error = errno;
    close(ruleset);
    errno = error;
    return rc;
}

const char *
sandbox_enter(const struct sandbox *sandbox, const struct sandbox_worker *worker)
{
    static const struct {
        const char *name;
        int (*step)(const struct sandbox_worker *worker);
    } steps[] = {
        {"resource limits", set_limits},
        {"oom_score_adj", offer_to_oom_killer},
        {"capability bounding set", empty_bounding_set},
        {"change of user", change_user},
        {"capabilities", drop_capabilities},
        {"temporary directory", enter_tmpdir},
        {"death with the parent", die_with_parent},
        {"no_new_privs", refuse_new_privileges},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (steps[i].step(worker) < 0) {
            return steps[i].name;
        }
    }
    if (sandbox->landlock > 0 && enter_landlock(sandbox, worker) < 0) {
        return "landlock";
    }
    close(worker->tmpdir);
    close(worker->proc);
    if (!WATCHED_BY_SANITIZERS &&
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &sandbox->filter) < 0) {
        return "seccomp";
    }
    return NULL;
}

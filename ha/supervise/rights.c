/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "rights.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <glib.h>

#define CAPS_MAX 64U
#define GROUPS_MAX 64

/* A disposition to ignore outlives exec; a handler does not. */
static void
signals_reset(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++) {
        (void)signal(i, SIG_DFL);
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
oom_reset(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = write(fd, "0", 1);
        (void)n;
        close(fd);
    }
}

/* Beyond the hard limit only with CAP_SYS_RESOURCE; the programs say so when it is too little. */
static void
descriptors_allow(unsigned wanted)
{
    struct rlimit limit = {wanted, wanted};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = MIN(wanted, limit.rlim_max);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* LimitNICE=+0 of the unit: back to 0, never below. RLIMIT_NICE counts from the other end. */
static void
niceness_allow(bool stands_back)
{
    const struct rlimit limit = {20, 20};
    if (stands_back) {
        (void)setrlimit(RLIMIT_NICE, &limit);
    }
}

static int
bounding_set(uint64_t caps)
{
    for (unsigned i = 0; i < CAPS_MAX; i++) {
        if ((caps & 1ULL << i) == 0 && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int
groups_set(const struct process_kind *kind, const struct passwd *user)
{
    gid_t groups[GROUPS_MAX];
    int n = GROUPS_MAX - 1;
    const struct group *more = kind->group != NULL ? getgrnam(kind->group) : NULL;
    if (kind->group != NULL && more == NULL) {
        return -ENOENT;
    }
    if (getgrouplist(user->pw_name, user->pw_gid, groups, &n) < 0) {
        return -E2BIG;
    }
    if (more != NULL) {
        groups[n++] = more->gr_gid;
    }
    return setgroups((size_t)n, groups) < 0 ? -errno : 0;
}

static int
user_set(const struct passwd *user)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
        setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0) {
        return -errno;
    }
    return getuid() == user->pw_uid && geteuid() == user->pw_uid ? 0 : -EPERM;
}

/* Ambient, since exec would take them from who is not root. */
static int
capabilities_set(uint64_t caps)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t part = (uint32_t)(caps >> (32 * i));
        data[i] = (struct __user_cap_data_struct){part, part, part};
    }
    if (syscall(SYS_capset, &header, data) < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < CAPS_MAX; i++) {
        if ((caps & 1ULL << i) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

int
rights_take(const struct process_kind *kind, const char **step)
{
    const struct passwd *user = getpwnam(kind->user != NULL ? kind->user : "root");
    int rc = user == NULL ? -ENOENT : 0;
    *step = "user";
    if (rc == 0) {
        signals_reset();
        oom_reset();
        descriptors_allow(kind->descriptors);
        niceness_allow(kind->stands_back);
        (void)umask(kind->umask);
        *step = "directory";
        rc = chdir("/") < 0 ? -errno : 0;
    }
    if (rc == 0) {
        *step = "bounding set";
        rc = bounding_set(kind->caps);
    }
    if (rc == 0) {
        *step = "groups";
        rc = groups_set(kind, user);
    }
    if (rc == 0) {
        *step = "user";
        rc = user_set(user);
    }
    if (rc == 0) {
        *step = "capabilities";
        rc = capabilities_set(kind->caps);
    }
    if (rc == 0) {
        *step = "no new privileges";
        rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    }
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "packet.h"
#include "zygote.h"

#define NAMESPACES \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

bool
launch_one_user(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    const uint32_t needed = 1U << CAP_SETUID | 1U << CAP_SETGID;
    return syscall(SYS_capget, &header, data) < 0 || (data[0].effective & needed) != needed;
}

/* clone3 is answered with ENOSYS by seccomp filters that must look into the flags (systemd's
 * RestrictNamespaces=); they can look into clone's. */
static pid_t
clone_zygote(int *ret_pidfd)
{
    struct clone_args args = {
        .flags = NAMESPACES | CLONE_PIDFD,
        .pidfd = (uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0 && errno == ENOSYS) {
        pid = (pid_t)syscall(SYS_clone, NAMESPACES | CLONE_PIDFD | SIGCHLD, NULL, ret_pidfd, NULL,
                             NULL);
    }
    return pid;
}

/* The child, from clone to exec. */

static _Noreturn void
child_fail(int channel, const char *step)
{
    g_autofree char *text =
        g_strdup_printf("the zygote cannot be started: %s: %s", step, g_strerror(errno));
    json_t *packet = json_pack("{s:s, s:s}", "event", "failed", "error", text);
    (void)packet_send(channel, packet, -1);
    _exit(1);
}

/* Again after each change of users, which ends it. */
static void
child_die_with_engine(int channel)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        child_fail(channel, "prctl");
    }
}

/* The orders are sent when the maps are written: their arrival is the signal to go on. They stay
 * in the socket, for the program. */
static void
child_await_maps(int channel)
{
    char byte;
    ssize_t n;
    do {
        n = recv(channel, &byte, sizeof byte, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        _exit(1);
    }
}

static void
child_become_root(const struct launch *launch, int channel)
{
    if (!launch->one_user && setgroups(0, NULL) < 0) {
        child_fail(channel, "setgroups");
    }
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        child_fail(channel, "setresuid");
    }
    if (getuid() != 0 || geteuid() != 0 || getgid() != 0) {
        errno = EPERM;
        child_fail(channel, "setresuid");
    }
}

static void
child_descriptors(int channel, int program, int signatures)
{
    /* First out of the way of the numbers that they are to get. */
    int high_channel = fcntl(channel, F_DUPFD, 16);
    int high_signatures = signatures < 0 ? -1 : fcntl(signatures, F_DUPFD, 16);
    int high_program = fcntl(program, F_DUPFD_CLOEXEC, 16);
    if (high_channel < 0 || high_program < 0 || (signatures >= 0 && high_signatures < 0) ||
        dup2(high_channel, ZYGOTE_CHANNEL) < 0 || dup2(high_program, ZYGOTE_SIGNATURES + 1) < 0) {
        child_fail(channel, "descriptors");
    }
    if (high_signatures < 0) {
        close(ZYGOTE_SIGNATURES);
    } else if (dup2(high_signatures, ZYGOTE_SIGNATURES) < 0) {
        child_fail(channel, "descriptors");
    }
    if (close_range(ZYGOTE_SIGNATURES + 2, ~0U, 0) < 0 ||
        fcntl(ZYGOTE_SIGNATURES + 1, F_SETFD, FD_CLOEXEC) < 0) {
        child_fail(ZYGOTE_CHANNEL, "close_range");
    }
}

/* Only the soft limit: a worker's own (its address space and so much more) may be higher. */
static void
child_limit(const struct launch *launch, int channel)
{
    struct rlimit limit;
    if (launch->memory == 0) {
        return;
    }
    if (getrlimit(RLIMIT_AS, &limit) < 0) {
        child_fail(channel, "getrlimit");
    }
    limit.rlim_cur = MIN(launch->memory, limit.rlim_max);
    if (setrlimit(RLIMIT_AS, &limit) < 0) {
        child_fail(channel, "setrlimit");
    }
}

static _Noreturn void
child_run(const struct launch *launch, int channel, int program)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    child_die_with_engine(channel);
    child_await_maps(channel);
    /* While this is still the engine's user: the directory need not be open to the world. */
    int signatures = -1;
    if (launch->signatures != NULL) {
        signatures = open(launch->signatures, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (signatures < 0) {
            child_fail(channel, launch->signatures);
        }
    }
    child_limit(launch, channel);
    child_become_root(launch, channel);
    child_die_with_engine(channel);
    child_descriptors(channel, program, signatures);
    char *const argv[] = {(char[]){"postern-zygote"}, NULL};
    char *const envp[] = {(char[]){"PATH=/usr/bin"}, (char[]){"LC_ALL=C.UTF-8"}, NULL};
    execveat(ZYGOTE_SIGNATURES + 1, "", argv, envp, AT_EMPTY_PATH);
    child_fail(ZYGOTE_CHANNEL, "exec");
}

/* The parent. */

static int
write_proc(pid_t pid, const char *name, const char *text)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int
write_maps(const struct launch *launch, pid_t pid, char **error_r)
{
    g_autofree char *uids = NULL;
    g_autofree char *gids = NULL;
    int rc = 0;
    if (launch->one_user) {
        uids = g_strdup_printf("0 %u 1", geteuid());
        gids = g_strdup_printf("0 %u 1", getegid());
        rc = write_proc(pid, "setgroups", "deny");
    } else {
        uids = g_strdup_printf("0 %u %u", launch->id_base, ZYGOTE_IDS);
        gids = g_strdup(uids);
    }
    if (rc == 0) {
        rc = write_proc(pid, "gid_map", gids);
    }
    if (rc == 0) {
        rc = write_proc(pid, "uid_map", uids);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("user numbers \"%s\" cannot be mapped: %s; in a container "
                                   "id_base must lie inside the container's own range",
                                   uids, g_strerror(-rc));
    }
    return rc;
}

static char *
explain_clone(int error)
{
    const char *advice = error == ENOSPC ? "; raise the sysctl user.max_user_namespaces"
                         : error == EPERM
                             ? "; user namespaces are forbidden here (sysctl "
                               "kernel.unprivileged_userns_clone, AppArmor or a container); "
                               "allow them, or give the unit CAP_SYS_ADMIN in a drop-in"
                             : "";
    return g_strdup_printf("the zygote's namespaces cannot be made: %s%s", g_strerror(error),
                           advice);
}

void
launch_end(struct launched *zygote)
{
    siginfo_t info;
    (void)syscall(SYS_pidfd_send_signal, zygote->pidfd, SIGKILL, NULL, 0);
    while (waitid(P_PIDFD, (id_t)zygote->pidfd, &info, WEXITED) < 0 && errno == EINTR) {
    }
    close(zygote->pidfd);
    close(zygote->channel);
    zygote->pid = 0;
}

static int
start(const struct launch *launch, int program, struct launched *ret, char **error_r)
{
    int pair[2];
    int rc = packet_pair(pair);
    if (rc < 0) {
        *error_r = g_strdup_printf("no socket pair: %s", g_strerror(-rc));
        return rc;
    }
    struct launched launched = {.pidfd = -1, .channel = pair[0]};
    launched.pid = clone_zygote(&launched.pidfd);
    if (launched.pid == 0) {
        close(pair[0]);
        child_run(launch, pair[1], program);
    }
    rc = launched.pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc < 0) {
        *error_r = explain_clone(-rc);
        close(pair[0]);
        return rc;
    }
    rc = write_maps(launch, launched.pid, error_r);
    if (rc == 0) {
        rc = packet_send(launched.channel, launch->orders, -1);
        if (rc < 0) {
            *error_r = g_strdup_printf("the zygote takes no orders: %s", g_strerror(-rc));
        }
    }
    if (rc < 0) {
        launch_end(&launched);
        return rc;
    }
    *ret = launched;
    return 0;
}

int
launch_zygote(const struct launch *launch, struct launched *ret, char **error_r)
{
    /* The maps are files of the child in /proc; they belong to us only while it is dumpable. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    int program = open(launch->zygote, O_PATH | O_CLOEXEC);
    if (program < 0) {
        int rc = -errno;
        *error_r = g_strdup_printf("%s: %s", launch->zygote, g_strerror(-rc));
        return rc;
    }
    int rc = start(launch, program, ret, error_r);
    close(program);
    return rc;
}

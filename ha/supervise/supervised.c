/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "supervised.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "cgroup.h"
#include "log.h"
#include "process-find.h"
#include "process-record.h"
#include "rights.h"
#include "role.h"
#include "text.h"
#include "wake.h"

#define POLL_US 20000U
#define STARTS_MAX 16U
#define MESSAGE_MAX 2048U
#define STATUS_SHOWN 300
#define LINE_SHOWN 500
#define EXEC_FAILED 203

enum phase {
    PHASE_STARTING,
    PHASE_UP,
    PHASE_CLEARING, /* the program has ended; what it left is killed before the next start */
    PHASE_PAUSE,    /* before the next start */
    PHASE_STOPPING,
    PHASE_KILLING, /* for ever: until nobody is left, or we are */
};

struct supervised {
    const struct process_kind *kind;
    char **argv;
    sd_event *event;
    sd_event_source *notify_source;
    sd_event_source *log_source;
    sd_event_source *timer; /* of the phase */
    sd_event_source *watchdog;
    int notify;
    int log; /* what the program prints */
    char *notify_path;
    char *cgroup;
    enum phase phase;
    struct process_record record;
    gint64 started[STARTS_MAX]; /* monotonic, a ring */
    guint64 starts;
    bool give_up; /* after clearing */
    bool orderly;
};

static int begin(struct supervised *s);

/* The record, and who reads it */

static void
tell(struct supervised *s, enum unit_condition condition)
{
    s->record.condition = condition;
    int rc = process_record_write(NULL, s->kind->name, &s->record);
    if (rc < 0) {
        log_err("%s: its record cannot be written: %s", s->kind->name, g_strerror(-rc));
    }
    wake_notify(ROLE_DIR);
}

static void
set_status(struct supervised *s, const char *text)
{
    g_free(s->record.status);
    s->record.status = text_escape(text, STATUS_SHOWN);
}

static void
arm(struct supervised *s, guint64 delay_us)
{
    (void)sd_event_source_set_time_relative(s->timer, delay_us);
    (void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void
arm_watchdog(struct supervised *s)
{
    if (s->kind->watchdog_s > 0) {
        (void)sd_event_source_set_time_relative(s->watchdog,
                                                s->kind->watchdog_s * (guint64)G_USEC_PER_SEC);
        (void)sd_event_source_set_enabled(s->watchdog, SD_EVENT_ONESHOT);
    }
}

static unsigned
kill_rest(const struct supervised *s)
{
    const struct process_group group = {.name = s->kind->name, .supervisor = s->record.supervisor};
    return process_signal_all(&group, SIGKILL);
}

/* The program */

static _Noreturn void
child_run(const struct supervised *s, int out)
{
    const char *step = "its control group";
    g_autofree char *notify = g_strconcat("NOTIFY_SOCKET=", s->notify_path, NULL);
    g_autofree char *usec = g_strdup_printf("WATCHDOG_USEC=%u000000", s->kind->watchdog_s);
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", notify,
                               s->kind->watchdog_s > 0 ? usec : NULL, NULL};
    int rc = s->cgroup != NULL ? cgroup_enter(s->cgroup) : 0;
    if (rc == -EROFS || rc == -EACCES || rc == -EOPNOTSUPP) {
        rc = 0; /* made, but not for us: the session is what counts then */
    }
    if (rc == 0 && (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)) {
        rc = -errno;
    }
    if (rc == 0) {
        (void)close_range(STDERR_FILENO + 1, ~0U, 0);
        rc = rights_take(s->kind, &step);
    }
    if (rc == 0) {
        step = s->kind->program;
        execve(s->kind->program, s->argv, (char *const *)(guintptr)env);
        rc = -errno;
    }
    dprintf(STDERR_FILENO, "%s: %s\n", step, g_strerror(-rc));
    _exit(EXEC_FAILED);
}

static int
on_log(sd_event_source *source, int fd, uint32_t events, void *data)
{
    const struct supervised *s = data;
    char text[MESSAGE_MAX + 1];
    (void)events;
    ssize_t n = read(fd, text, MESSAGE_MAX);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        }
        return 0;
    }
    text[n] = '\0';
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0') {
            g_autofree char *safe = text_escape(*line, LINE_SHOWN);
            log_info("%s: %s", s->kind->name, safe);
        }
    }
    return 0;
}

static void
log_close(struct supervised *s)
{
    s->log_source = sd_event_source_disable_unref(s->log_source);
    if (s->log >= 0) {
        close(s->log);
        s->log = -1;
    }
}

static int
spawn(struct supervised *s)
{
    int out[2];
    log_close(s);
    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    s->log = out[0];
    int rc = sd_event_add_io(s->event, &s->log_source, s->log, EPOLLIN, on_log, s);
    pid_t pid = rc < 0 ? -1 : fork();
    if (pid == 0) {
        child_run(s, out[1]);
    }
    if (rc >= 0 && pid < 0) {
        rc = -errno;
    }
    close(out[1]);
    if (rc >= 0) {
        s->record.main = (struct process_id){.pid = pid, .start = process_start_time(pid)};
    }
    return MIN(rc, 0);
}

/* More starts within the time than the unit allows? */
static bool
too_often(const struct supervised *s)
{
    if (s->kind->burst == 0 || s->starts < s->kind->burst) {
        return false;
    }
    gint64 first = s->started[(s->starts - s->kind->burst) % STARTS_MAX];
    return g_get_monotonic_time() - first < s->kind->burst_s * (gint64)G_USEC_PER_SEC;
}

static int
end(struct supervised *s, enum unit_condition condition)
{
    tell(s, condition);
    return sd_event_exit(s->event, condition == UNIT_FAILED ? 1 : 0);
}

static int
begin(struct supervised *s)
{
    if (too_often(s)) {
        log_err("%s: ended %u times in %u s, given up", s->kind->name, s->kind->burst,
                s->kind->burst_s);
        return end(s, UNIT_FAILED);
    }
    g_free(s->cgroup);
    s->cgroup = cgroup_make(s->kind);
    s->started[s->starts++ % STARTS_MAX] = g_get_monotonic_time();
    s->record.starts = s->starts;
    s->phase = PHASE_STARTING;
    int rc = spawn(s);
    if (rc < 0) {
        g_autofree char *text = g_strdup_printf("cannot be started: %s", g_strerror(-rc));
        set_status(s, text);
        return end(s, UNIT_FAILED);
    }
    tell(s, UNIT_RESPAWNING);
    arm(s, s->kind->start_s * (guint64)G_USEC_PER_SEC);
    return 0;
}

/* Its end */

/* What it has left would meet its successor. */
static int
clear(struct supervised *s)
{
    bool stopping = s->phase == PHASE_STOPPING || s->phase == PHASE_KILLING;
    if (kill_rest(s) > 0) {
        s->phase = stopping ? PHASE_KILLING : PHASE_CLEARING;
        arm(s, POLL_US);
        return 0;
    }
    if (s->cgroup != NULL) {
        cgroup_remove(s->cgroup);
    }
    if (stopping || (s->orderly && !s->kind->always)) {
        return end(s, UNIT_DOWN);
    }
    s->phase = PHASE_PAUSE;
    arm(s, s->kind->pause_ms * (guint64)1000);
    return 0;
}

static void
on_main_end(struct supervised *s, int status)
{
    g_autofree char *text = WIFEXITED(status)
                                ? g_strdup_printf("ended with exit %d", WEXITSTATUS(status))
                                : g_strdup_printf("ended by signal %d", WTERMSIG(status));
    bool stopping = s->phase == PHASE_STOPPING || s->phase == PHASE_KILLING;
    log_notice("%s: %s", s->kind->name, text);
    if (s->record.status == NULL || s->phase == PHASE_UP) {
        set_status(s, text);
    }
    s->orderly = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    s->record.up_until = s->phase == PHASE_UP ? g_get_monotonic_time() : s->record.up_until;
    s->record.main = (struct process_id){0};
    (void)sd_event_source_set_enabled(s->watchdog, SD_EVENT_OFF);
    tell(s, stopping ? UNIT_LEAVING : UNIT_RESPAWNING);
    (void)clear(s);
}

static int
on_child(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    struct supervised *s = data;
    int status;
    pid_t pid;
    (void)source;
    (void)info;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->record.main.pid) {
            on_main_end(s, status);
        }
    }
    return 0;
}

static int
on_terminate(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    struct supervised *s = data;
    (void)source;
    (void)info;
    if (s->phase == PHASE_STOPPING || s->phase == PHASE_KILLING) {
        return 0;
    }
    s->phase = PHASE_STOPPING;
    tell(s, UNIT_LEAVING);
    if (s->record.main.pid == 0) {
        return clear(s);
    }
    (void)process_signal(&s->record.main, SIGTERM);
    arm(s, s->kind->stop_s * (guint64)G_USEC_PER_SEC);
    return 0;
}

static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    struct supervised *s = data;
    (void)source;
    (void)usec;
    switch (s->phase) {
    case PHASE_STARTING:
        set_status(s, "it did not become ready in time");
        (void)process_signal(&s->record.main, SIGKILL);
        return 0;
    case PHASE_PAUSE:
        return begin(s);
    case PHASE_STOPPING:
        log_warning("%s: does not end, killed", s->kind->name);
        return clear(s);
    case PHASE_CLEARING:
    case PHASE_KILLING:
        return clear(s);
    case PHASE_UP:
        break;
    }
    return 0;
}

static int
on_watchdog(sd_event_source *source, uint64_t usec, void *data)
{
    struct supervised *s = data;
    (void)source;
    (void)usec;
    log_err("%s: no sign of life for %u s, killed", s->kind->name, s->kind->watchdog_s);
    set_status(s, "it gave no sign of life");
    (void)process_signal(&s->record.main, SIGKILL);
    return 0;
}

/* What it says: sd_notify(3) */

/* More time, never less than the unit gives. */
static void
extend(struct supervised *s, guint64 more_us)
{
    gint64 begun = s->started[(s->starts - 1) % STARTS_MAX];
    gint64 used_us = g_get_monotonic_time() - begun;
    gint64 left_us = s->kind->start_s * (gint64)G_USEC_PER_SEC - used_us;
    arm(s, MAX(more_us, (guint64)MAX(left_us, 0)));
}

static void
heard(struct supervised *s, const char *line)
{
    if (g_str_has_prefix(line, "STATUS=")) {
        set_status(s, line + strlen("STATUS="));
        tell(s, s->record.condition);
    } else if (strcmp(line, "READY=1") == 0 && s->phase == PHASE_STARTING) {
        s->phase = PHASE_UP;
        (void)sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        arm_watchdog(s);
        tell(s, UNIT_UP);
    } else if (g_str_has_prefix(line, "EXTEND_TIMEOUT_USEC=") && s->phase == PHASE_STARTING) {
        extend(s, g_ascii_strtoull(line + strlen("EXTEND_TIMEOUT_USEC="), NULL, 10));
    } else if (strcmp(line, "WATCHDOG=1") == 0 && s->phase == PHASE_UP) {
        arm_watchdog(s);
    }
}

/* Only of the program itself, as NotifyAccess=main. */
static bool
is_of_main(const struct supervised *s, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            memcpy(&credentials, CMSG_DATA(c), sizeof credentials);
            return credentials.pid == s->record.main.pid && credentials.pid > 0;
        }
    }
    return false;
}

static int
on_notify(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct supervised *s = data;
    char text[MESSAGE_MAX + 1];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = MESSAGE_MAX};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    (void)source;
    (void)events;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0 || !is_of_main(s, &message)) {
        return 0;
    }
    text[n] = '\0';
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        heard(s, *line);
    }
    return 0;
}

/* Everybody may write there, as to systemd's own socket: who says it is what counts. */
static int
listen_notify(struct supervised *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int one = 1;
    s->notify_path = g_strdup_printf(ROLE_DIR "/%s.notify", s->kind->name);
    g_strlcpy(address.sun_path, s->notify_path, sizeof address.sun_path);
    (void)unlink(s->notify_path);
    s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->notify < 0 || setsockopt(s->notify, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) < 0 ||
        bind(s->notify, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(s->notify_path, 0666) < 0) {
        return -errno;
    }
    return sd_event_add_io(s->event, &s->notify_source, s->notify, EPOLLIN, on_notify, s);
}

static int
watch_signals(struct supervised *s)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ? -errno : 0;
    if (rc >= 0) {
        rc = sd_event_add_signal(s->event, NULL, SIGCHLD, on_child, s);
    }
    if (rc >= 0) {
        rc = sd_event_add_signal(s->event, NULL, SIGTERM, on_terminate, s);
    }
    if (rc >= 0) {
        rc = sd_event_add_signal(s->event, NULL, SIGINT, on_terminate, s);
    }
    return rc;
}

static int
open_all(struct supervised *s)
{
    int rc = prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : watch_signals(s);
    if (rc >= 0) {
        rc = listen_notify(s);
    }
    if (rc >= 0) {
        rc = sd_event_add_time_relative(s->event, &s->timer, CLOCK_MONOTONIC, 0, 0, on_timer, s);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
    }
    if (rc >= 0) {
        rc = sd_event_add_time_relative(s->event, &s->watchdog, CLOCK_MONOTONIC, 0, 0, on_watchdog,
                                        s);
    }
    return rc < 0 ? rc : sd_event_source_set_enabled(s->watchdog, SD_EVENT_OFF);
}

static char **
words_of(const struct process_kind *kind, const char *options)
{
    g_autofree char *line =
        g_strdup_printf("%s %s", kind->program, kind->options && options != NULL ? options : "");
    return g_strsplit(g_strchomp(line), " ", -1);
}

int
supervised_new(sd_event *event, const struct process_kind *kind, const char *options,
               struct supervised **ret, char **error_r)
{
    struct supervised *s = g_new0(struct supervised, 1);
    s->kind = kind;
    s->argv = words_of(kind, options);
    s->event = sd_event_ref(event);
    s->notify = -1;
    s->log = -1;
    s->record.supervisor =
        (struct process_id){.pid = getpid(), .start = process_start_time(getpid())};
    int rc = open_all(s);
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", kind->name, g_strerror(-rc));
        supervised_free(s);
        return rc;
    }
    (void)begin(s);
    *ret = s;
    return 0;
}

void
supervised_free(struct supervised *s)
{
    if (s == NULL) {
        return;
    }
    log_close(s);
    sd_event_source_disable_unref(s->notify_source);
    sd_event_source_disable_unref(s->timer);
    sd_event_source_disable_unref(s->watchdog);
    if (s->notify >= 0) {
        close(s->notify);
        (void)unlink(s->notify_path);
    }
    g_free(s->notify_path);
    g_free(s->cgroup);
    g_strfreev(s->argv);
    process_record_clear(&s->record);
    sd_event_unref(s->event);
    g_free(s);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process-find.h"
#include "process-kind.h"

#define SUPERVISE LIBEXECDIR "/postern-supervise"
#define MILTER "/run/postern/milter"
#define POLL_US 20000
/* What the supervisor needs beside the program's own time. */
#define GRACE_US (2 * G_TIME_SPAN_SECOND)

/* ocf/postern.tmpfiles, in its order. */
static const struct {
    const char *path;
    unsigned mode;
    const char *user;
    const char *group;
} directories[] = {
    {"/run/postern", 01775, "root", "postern"},
    {"/run/postern/engine", 0755, "postern-engine", "postern-engine"},
    {MILTER, 02750, "postern", "postern"},
    {"/run/postern/clamd", 02750, "postern", "postern-clamd"},
    {"/run/postern/cluster", 0755, "root", "root"},
    {"/var/lib/postern", 0755, "root", "root"},
    {"/var/lib/postern/signatures", 0755, "postern-engine", "postern-engine"},
    {"/var/lib/postern/share", 0755, "postern-share", "postern-share"},
    {"/var/lib/postern/update", 0755, "postern-update", "postern-update"},
};

/* By descriptor, since another user may write beside it. */
static int
directory_fit(int fd, unsigned mode, uid_t user, gid_t group)
{
    struct stat is;
    if (fstat(fd, &is) < 0) {
        return -errno;
    }
    if (is.st_uid == user && is.st_gid == group && (is.st_mode & 07777) == mode) {
        return 0;
    }
    return fchown(fd, user, group) < 0 || fchmod(fd, mode) < 0 ? -errno : 0;
}

static int
directory_make(const char *path, unsigned mode, const char *user, const char *group)
{
    const struct passwd *owner = getpwnam(user);
    const struct group *owners = getgrnam(group);
    if (owner == NULL || owners == NULL) {
        return -ENOKEY;
    }
    bool fresh = mkdir(path, 0700) == 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    /* The milter's has got the mail server's group meanwhile. */
    int rc = fresh || strcmp(path, MILTER) != 0
                 ? directory_fit(fd, mode, owner->pw_uid, owners->gr_gid)
                 : 0;
    close(fd);
    return rc;
}

int
process_prepare(char **error_r)
{
    for (size_t i = 0; i < G_N_ELEMENTS(directories); i++) {
        int rc = directory_make(directories[i].path, directories[i].mode, directories[i].user,
                                directories[i].group);
        if (rc == -ENOKEY) {
            *error_r = g_strdup_printf("there is no user %s or no group %s: make them as "
                                       "sysusers.d/postern.conf says",
                                       directories[i].user, directories[i].group);
            return -ENOENT;
        }
        if (rc < 0) {
            *error_r =
                g_strdup_printf("%s cannot be made: %s", directories[i].path, g_strerror(-rc));
            return rc;
        }
    }
    return 0;
}

/* Who NAME is; *RECORD (process_record_clear()) as far as there is one. */
static struct process_group
group_of(const char *name, struct process_record *record)
{
    struct process_group group = {.name = name};
    if (process_record_read(NULL, name, record) == 0) {
        group.supervisor = record->supervisor;
    }
    return group;
}

enum unit_condition
process_condition(const char *name)
{
    struct process_record record;
    const struct process_kind *kind = process_kind_find(name);
    struct process_group group = group_of(name, &record);
    enum unit_condition condition = record.condition;
    if (group.supervisor.pid == 0) {
        /* systemd's, which does not answer; or nobody's */
        bool installed = kind != NULL && access(kind->program, X_OK) == 0;
        condition = process_count(&group) > 0 ? UNIT_UP : installed ? UNIT_DOWN : UNIT_ABSENT;
    } else if (!process_id_lives(&record.supervisor)) {
        /* One that has given up says so before it ends. */
        condition = record.condition == UNIT_DOWN ? UNIT_DOWN : UNIT_FAILED;
    }
    process_record_clear(&record);
    return condition;
}

gint64
process_away(const char *name)
{
    struct process_record record;
    gint64 away = 0;
    if (process_record_read(NULL, name, &record) == 0 && record.up_until > 0) {
        away = MAX(g_get_monotonic_time() - record.up_until, 0);
    }
    process_record_clear(&record);
    return away;
}

int
process_processes(const char *name)
{
    struct process_record record;
    struct process_group group = group_of(name, &record);
    process_record_clear(&record);
    return (int)process_count(&group);
}

static char *
record_words(const struct process_record *record)
{
    return g_strdup_printf("%s; see the system's log",
                           record->status != NULL ? record->status : "it has said nothing");
}

char *
process_last_words(const char *name)
{
    struct process_record record;
    (void)process_record_read(NULL, name, &record);
    char *words = record_words(&record);
    process_record_clear(&record);
    return words;
}

/* Who is in the record and lives; pid 0 = nobody. */
static struct process_id
main_of(const char *name)
{
    struct process_record record;
    (void)process_record_read(NULL, name, &record);
    struct process_id id = record.main;
    process_record_clear(&record);
    return process_id_lives(&id) ? id : (struct process_id){0};
}

pid_t
process_main_pid(const char *name)
{
    return main_of(name).pid;
}

int
process_hang_up(const char *name, char **error_r)
{
    struct process_id id = main_of(name);
    int rc = id.pid == 0 ? 0 : process_signal(&id, SIGHUP);
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: it cannot be told: %s", name, g_strerror(-rc));
    }
    return rc;
}

/* Start */

static void
child_exec(const char *name)
{
    g_autofree char *options = g_strconcat("POSTERN_OPTIONS=", g_getenv("POSTERN_OPTIONS"), NULL);
    const char *const argv[] = {SUPERVISE, name, NULL};
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", options,
                               NULL};
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) {
        _exit(1);
    }
    (void)close_range(3, ~0U, 0);
    /* execve's prototype is older than const; it changes neither. */
    execve(argv[0], (char *const *)(guintptr)argv, (char *const *)(guintptr)env);
    _exit(1);
}

/* Twice, so that nobody here has to reap it. */
static int
supervisor_spawn(const char *name)
{
    int status = 0;
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        (void)setsid();
        pid = fork();
        if (pid == 0) {
            (void)setsid(); /* leader of its own: the session's number is its own */
            child_exec(name);
        }
        _exit(pid < 0 ? 1 : 0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0 ? 0 : -EAGAIN;
}

/* Waits for it to be ready; its first end is a failure, although it will be tried again. */
static int
start_wait(const char *name, gint64 deadline, char **error_r)
{
    for (;;) {
        struct process_record record;
        int rc = process_record_read(NULL, name, &record);
        bool lives = rc == 0 && process_id_lives(&record.supervisor);
        bool ended = rc == 0 && (record.starts > 1 || !lives);
        g_autofree char *words = record_words(&record);
        enum unit_condition condition = rc == 0 ? record.condition : UNIT_RESPAWNING;
        process_record_clear(&record);
        if (lives && condition == UNIT_UP) {
            return 0;
        }
        if (ended) {
            *error_r = g_strdup_printf("%s: it did not start: %s", name, words);
            return -EIO;
        }
        if (g_get_monotonic_time() + POLL_US >= deadline) {
            *error_r = g_strdup_printf("%s: it is not ready in time: %s", name, words);
            return -ETIMEDOUT;
        }
        g_usleep(POLL_US);
    }
}

int
process_ask(const char *name, gint64 deadline, char **error_r)
{
    const struct process_kind *kind = process_kind_find(name);
    enum unit_condition condition = process_condition(name);
    if (kind == NULL || condition == UNIT_ABSENT) {
        *error_r = g_strdup_printf("%s is not installed", kind != NULL ? kind->program : name);
        return -ENOENT;
    }
    if (condition != UNIT_DOWN && condition != UNIT_FAILED) {
        return 0;
    }
    /* What another left must not meet its successor. */
    int rc = process_stop(name, deadline, error_r);
    if (rc == 0 && (rc = supervisor_spawn(name)) < 0) {
        *error_r = g_strdup_printf("%s: %s", SUPERVISE, g_strerror(-rc));
    }
    return rc;
}

int
process_start(const char *name, gint64 deadline, char **error_r)
{
    int rc = process_ask(name, deadline, error_r);
    return rc < 0 || process_condition(name) == UNIT_UP ? rc : start_wait(name, deadline, error_r);
}

/* Stop */

/* Waits until nobody is left; FALSE when it is UNTIL before. */
static bool
wait_empty(const struct process_group *group, gint64 until)
{
    while (process_id_lives(&group->supervisor) || process_count(group) > 0) {
        if (g_get_monotonic_time() + POLL_US >= until) {
            return false;
        }
        g_usleep(POLL_US);
    }
    return true;
}

/* The supervisor ends the rest and then itself; without one they are asked one by one. */
static void
ask_to_end(const struct process_group *group)
{
    if (!process_id_lives(&group->supervisor) || process_signal(&group->supervisor, SIGTERM) < 0) {
        (void)process_signal_all(group, SIGTERM);
    }
}

static bool
kill_until(const struct process_group *group, gint64 deadline)
{
    do {
        /* First, or it would start the others again. */
        if (process_id_lives(&group->supervisor)) {
            (void)process_signal(&group->supervisor, SIGKILL);
        }
        (void)process_signal_all(group, SIGKILL);
        if (wait_empty(group, MIN(deadline, g_get_monotonic_time() + 5 * POLL_US))) {
            return true;
        }
    } while (g_get_monotonic_time() + 2 * POLL_US < deadline);
    return false;
}

int
process_stop(const char *name, gint64 deadline, char **error_r)
{
    struct process_record record;
    const struct process_kind *kind = process_kind_find(name);
    struct process_group group = group_of(name, &record);
    gint64 now = g_get_monotonic_time();
    gint64 grace_us = (gint64)(kind != NULL ? kind->stop_s : 0) * G_USEC_PER_SEC + GRACE_US;
    process_record_clear(&record);
    bool empty = wait_empty(&group, 0);
    if (!empty) {
        ask_to_end(&group);
        empty = wait_empty(&group, now + MIN(grace_us, (deadline - now) / 2));
    }
    if (!empty && !kill_until(&group, deadline)) {
        *error_r =
            g_strdup_printf("%s: %u processes cannot be killed", name, process_count(&group));
        return -ETIMEDOUT;
    }
    process_record_remove(NULL, name);
    return 0;
}

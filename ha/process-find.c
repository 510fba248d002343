/* SPDX-License-Identifier: GPL-2.0-only */
#include "process-find.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

struct entry {
    struct process_id id;
    pid_t parent;
    pid_t session;
    bool member;
};

/* Reads what is behind the name in /proc/PID/stat. False for what has ended. */
static bool
entry_read(const char *pid, struct entry *ret)
{
    g_autofree char *path = g_build_filename("/proc", pid, "stat", NULL);
    g_autofree char *text = NULL;
    char state = 0;
    int parent = 0;
    int session = 0;
    unsigned long long start = 0;
    const char *fields = g_file_get_contents(path, &text, NULL, NULL) ? strrchr(text, ')') : NULL;
    if (fields == NULL ||
        sscanf(fields + 1,
               " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &parent, &session, &start) != 4 ||
        state == 'Z' || state == 'X') {
        return false;
    }
    ret->id.pid = (pid_t)g_ascii_strtoll(pid, NULL, 10);
    ret->id.start = start;
    ret->parent = (pid_t)parent;
    ret->session = (pid_t)session;
    return true;
}

/* Of LINE, "4:freezer:/a/b": "4:freezer:" and, behind it, the path. */
static const char *
path_in(const char *line)
{
    const char *colon = strchr(line, ':');
    colon = colon != NULL ? strchr(colon + 1, ':') : NULL;
    return colon != NULL ? colon + 1 : NULL;
}

/* Where this machine's groups begin in the hierarchy of LINE: below that of its init. */
static char *
top_of(char *const *init, const char *line)
{
    size_t hierarchy = (size_t)(path_in(line) - line);
    for (; *init != NULL; init++) {
        if (strncmp(*init, line, hierarchy) == 0) {
            char *top = g_strdup(*init + hierarchy);
            if (g_str_has_suffix(top, "/init.scope")) {
                top[strlen(top) - strlen("/init.scope")] = '\0';
            }
            return top;
        }
    }
    return g_strdup("");
}

/*
 * Is there NAME in the path of LINE, as systemd and postern-supervise put it there? Everybody may
 * have units of that name in a container or in a manager of their own: those are below a scope, a
 * service or whatever a container is called.
 */
static bool
is_group(const char *line, const char *name, char *const *init)
{
    if (path_in(line) == NULL) {
        return false;
    }
    g_autofree char *top = top_of(init, line);
    const char *path = path_in(line);
    size_t length = strlen(top);
    if (strncmp(path, top, length) == 0 && path[length] == '/') {
        path += length;
    }
    g_auto(GStrv) folders = g_strsplit(path, "/", -1);
    char **folder = folders;
    while (*folder != NULL && (**folder == '\0' || g_str_has_suffix(*folder, ".slice") ||
                               strcmp(*folder, PROCESS_CGROUP) == 0)) {
        folder++;
    }
    return g_strcmp0(*folder, name) == 0;
}

static char **
cgroups_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int)pid);
    g_autofree char *text = NULL;
    (void)g_file_get_contents(path, &text, NULL, NULL);
    return g_strsplit(text != NULL ? text : "", "\n", -1);
}

static bool
in_group(pid_t pid, const char *name, char *const *init)
{
    g_auto(GStrv) lines = cgroups_of(pid);
    for (char **line = lines; *line != NULL; line++) {
        if (strstr(*line, name) != NULL && is_group(*line, name, init)) {
            return true;
        }
    }
    return false;
}

/* A number that is another's by now says nothing about the session. */
static bool
session_is_ours(const struct process_id *supervisor)
{
    guint64 start = supervisor->pid > 0 ? process_start_time(supervisor->pid) : 0;
    return supervisor->pid > 0 && (start == 0 || start == supervisor->start);
}

static GArray *
entries_read(const struct process_group *group)
{
    bool by_session = session_is_ours(&group->supervisor);
    GArray *all = g_array_new(FALSE, TRUE, sizeof(struct entry));
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    g_auto(GStrv) init = cgroups_of(1);
    const char *name;
    while (proc != NULL && (name = g_dir_read_name(proc)) != NULL) {
        struct entry entry = {.member = false};
        if (!g_ascii_isdigit(*name) || !entry_read(name, &entry) || entry.id.pid == getpid()) {
            continue;
        }
        entry.member =
            (by_session &&
             (entry.session == group->supervisor.pid || entry.id.pid == group->supervisor.pid) &&
             entry.id.start >= group->supervisor.start) ||
            in_group(entry.id.pid, group->name, init);
        g_array_append_val(all, entry);
    }
    return all;
}

static bool
is_member(const GArray *all, pid_t pid)
{
    for (guint i = 0; i < all->len; i++) {
        const struct entry *entry = &g_array_index(all, struct entry, i);
        if (entry->id.pid == pid) {
            return entry->member;
        }
    }
    return false;
}

/* Makes the children of members members, until there is none more. */
static void
descend(GArray *all)
{
    bool more = true;
    while (more) {
        more = false;
        for (guint i = 0; i < all->len; i++) {
            struct entry *entry = &g_array_index(all, struct entry, i);
            if (!entry->member && is_member(all, entry->parent)) {
                entry->member = true;
                more = true;
            }
        }
    }
}

GArray *
process_find(const struct process_group *group)
{
    GArray *found = g_array_new(FALSE, TRUE, sizeof(struct process_id));
    g_autoptr(GArray) all = entries_read(group);
    descend(all);
    for (guint i = 0; i < all->len; i++) {
        const struct entry *entry = &g_array_index(all, struct entry, i);
        if (entry->member && entry->id.pid != group->supervisor.pid) {
            g_array_append_val(found, entry->id);
        }
    }
    return found;
}

unsigned
process_count(const struct process_group *group)
{
    g_autoptr(GArray) found = process_find(group);
    return found->len;
}

int
process_signal(const struct process_id *id, int signal)
{
    int fd = pidfd_open(id->pid, 0);
    if (fd < 0) {
        return errno == ESRCH ? 0 : -errno;
    }
    /* Between the two it cannot become another any more. */
    int rc = 0;
    if (process_start_time(id->pid) == id->start && pidfd_send_signal(fd, signal, NULL, 0) < 0) {
        rc = errno == ESRCH ? 0 : -errno;
    }
    close(fd);
    return rc;
}

unsigned
process_signal_all(const struct process_group *group, int signal)
{
    g_autoptr(GArray) found = process_find(group);
    for (guint i = 0; i < found->len; i++) {
        (void)process_signal(&g_array_index(found, struct process_id, i), signal);
    }
    return found->len;
}

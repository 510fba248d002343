/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct groups {
    char *directory;
    unsigned n_slots;
};

static int
write_file(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static char *
read_file(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

/* Where the v2 hierarchy is mounted: by itself, or beside v1. */
static const char *
hierarchy(void)
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < G_N_ELEMENTS(mounts); i++) {
        g_autofree char *file = g_build_filename(mounts[i], "cgroup.controllers", NULL);
        if (access(file, R_OK) == 0) {
            return mounts[i];
        }
    }
    return NULL;
}

/* The directory of this process's group, NULL when it is in none or in the root. */
static char *
own_directory(void)
{
    const char *mount = hierarchy();
    g_autofree char *text = read_file("/proc/self", "cgroup");
    if (mount == NULL || text == NULL) {
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "0::/") && strcmp(*line, "0::/") != 0) {
            return g_build_filename(mount, *line + strlen("0::"), NULL);
        }
    }
    return NULL;
}

/* Others in the group (a shell from which the engine was started by hand) would be in the way. */
static gboolean
is_alone(const char *directory)
{
    g_autofree char *text = read_file(directory, "cgroup.procs");
    g_autofree char *own = g_strdup_printf("%d\n", (int)getpid());
    return text != NULL && strcmp(text, own) == 0;
}

static gboolean
has_controllers(const char *directory)
{
    g_autofree char *text = read_file(directory, "cgroup.controllers");
    if (text == NULL) {
        return FALSE;
    }
    g_auto(GStrv) names = g_strsplit(g_strchomp(text), " ", -1);
    return g_strv_contains((const char *const *)names, "memory") &&
           g_strv_contains((const char *const *)names, "pids");
}

static char *
child_directory(const struct groups *groups, const char *name)
{
    return g_build_filename(groups->directory, name, NULL);
}

static char *
slot_directory(const struct groups *groups, unsigned slot)
{
    g_autofree char *name = g_strdup_printf("w%u", slot);
    return child_directory(groups, name);
}

static int
make(const char *directory)
{
    return mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* A group may have processes or groups with controllers below it, not both: first move out. */
static int
make_manager(const struct groups *groups)
{
    g_autofree char *manager = child_directory(groups, "manager");
    g_autofree char *own = g_strdup_printf("%d", (int)getpid());
    int rc = make(manager);
    if (rc == 0) {
        rc = write_file(manager, "cgroup.procs", own);
    }
    if (rc == 0) {
        rc = write_file(groups->directory, "cgroup.subtree_control", "+memory +pids");
    }
    return rc;
}

static int
make_slot(const struct groups *groups, unsigned slot, guint64 memory)
{
    g_autofree char *directory = slot_directory(groups, slot);
    g_autofree char *limit = g_strdup_printf("%" G_GUINT64_FORMAT, memory);
    int rc = make(directory);
    if (rc == 0) {
        rc = write_file(directory, "memory.max", limit);
    }
    if (rc == 0) {
        rc = write_file(directory, "pids.max", "1");
    }
    /* Absent without swap accounting; a swapped scan is slow, not unsafe. */
    (void)write_file(directory, "memory.swap.max", "0");
    return rc;
}

static int
make_all(const struct groups *groups, guint64 memory)
{
    g_autofree char *zygote = child_directory(groups, "zygote");
    g_autofree char *trial = child_directory(groups, "trial");
    int rc = make_manager(groups);
    if (rc == 0) {
        rc = make(zygote);
    }
    if (rc == 0) {
        rc = make(trial);
    }
    for (unsigned slot = 0; rc == 0 && slot < groups->n_slots; slot++) {
        rc = make_slot(groups, slot, memory);
    }
    return rc;
}

struct groups *
groups_new_at(const char *directory, unsigned n_slots, guint64 memory, char **why_r)
{
    if (!has_controllers(directory) || !is_alone(directory)) {
        *why_r = g_strdup("no cgroup v2 with memory and pids is delegated");
        return NULL;
    }
    struct groups *groups = g_new0(struct groups, 1);
    groups->directory = g_strdup(directory);
    groups->n_slots = n_slots;
    int rc = make_all(groups, memory);
    if (rc < 0) {
        *why_r = g_strdup_printf("%s: %s", directory, g_strerror(-rc));
        groups_free(groups);
        return NULL;
    }
    return groups;
}

struct groups *
groups_new(unsigned n_slots, guint64 memory, char **why_r)
{
    g_autofree char *directory = own_directory();
    if (directory == NULL) {
        *why_r = g_strdup("no cgroup v2 of its own");
        return NULL;
    }
    return groups_new_at(directory, n_slots, memory, why_r);
}

const char *
groups_directory(const struct groups *groups)
{
    return groups == NULL ? NULL : groups->directory;
}

void
groups_free(struct groups *groups)
{
    if (groups != NULL) {
        g_free(groups->directory);
        g_free(groups);
    }
}

/* The process number as this process sees it; the zygote's own number for it is another. */
static int
pid_of(int pidfd)
{
    g_autofree char *name = g_strdup_printf("%d", pidfd);
    g_autofree char *text = read_file("/proc/self/fdinfo", name);
    const char *field = text != NULL ? strstr(text, "\nPid:") : NULL;
    long pid = field != NULL ? strtol(field + strlen("\nPid:"), NULL, 10) : -1;
    return pid > 0 ? (int)pid : -ESRCH;
}

static int
place(const char *directory, int pidfd)
{
    int pid = pid_of(pidfd);
    g_autofree char *text = g_strdup_printf("%d", pid);
    return pid < 0 ? pid : write_file(directory, "cgroup.procs", text);
}

static int
place_limited(const struct groups *groups, const char *name, int pidfd, guint64 memory)
{
    g_autofree char *directory = child_directory(groups, name);
    g_autofree char *limit =
        memory > 0 ? g_strdup_printf("%" G_GUINT64_FORMAT, memory) : g_strdup("max");
    int rc = write_file(directory, "memory.max", limit);
    (void)write_file(directory, "memory.swap.max", memory > 0 ? "0" : "max");
    return rc < 0 ? rc : place(directory, pidfd);
}

static const char *
trial_name(bool remains)
{
    return remains ? "zygote" : "trial";
}

int
groups_place_zygote(const struct groups *groups, int pidfd)
{
    return groups == NULL ? 0 : place_limited(groups, "zygote", pidfd, 0);
}

int
groups_place_trial(const struct groups *groups, int pidfd, guint64 memory, bool remains)
{
    return groups == NULL ? 0 : place_limited(groups, trial_name(remains), pidfd, memory);
}

int
groups_place_worker(const struct groups *groups, unsigned slot, int pidfd)
{
    if (groups == NULL) {
        return 0;
    }
    g_autofree char *directory = slot_directory(groups, slot);
    return place(directory, pidfd);
}

/* The number behind KEY in the memory.events of the group DIRECTORY. */
static guint64
memory_events(const char *directory, const char *key)
{
    g_autofree char *text = read_file(directory, "memory.events");
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, key) && (*line)[strlen(key)] == ' ') {
            return g_ascii_strtoull(*line + strlen(key), NULL, 10);
        }
    }
    return 0;
}

guint64
groups_oom_kills(const struct groups *groups, unsigned slot)
{
    if (groups == NULL) {
        return 0;
    }
    g_autofree char *directory = slot_directory(groups, slot);
    return memory_events(directory, "oom_kill");
}

guint64
groups_trial_oom_kills(const struct groups *groups, bool remains, guint64 *at_limit)
{
    *at_limit = 0;
    if (groups == NULL) {
        return 0;
    }
    g_autofree char *directory = child_directory(groups, trial_name(remains));
    *at_limit = memory_events(directory, "oom");
    return memory_events(directory, "oom_kill");
}

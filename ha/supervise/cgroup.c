/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "process-find.h"

/* Version 2 by itself, beside version 1, then the hierarchies of version 1. */
static const char *const hierarchies[] = {
    "/sys/fs/cgroup",         "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/memory",
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

static int
make(const char *directory)
{
    return mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* Where nobody may decide, the engine does without groups and says so. */
static void
delegate(const char *hierarchy, const char *parent, const char *path, const char *user)
{
    static const char *const files[] = {"", "cgroup.procs", "cgroup.subtree_control",
                                        "cgroup.threads"};
    const struct passwd *owner = getpwnam(user);
    (void)write_file(hierarchy, "cgroup.subtree_control", "+memory +pids");
    (void)write_file(parent, "cgroup.subtree_control", "+memory +pids");
    for (size_t i = 0; owner != NULL && i < G_N_ELEMENTS(files); i++) {
        g_autofree char *file = g_build_filename(path, files[i], NULL);
        int rc = lchown(file, owner->pw_uid, owner->pw_gid);
        (void)rc;
    }
}

static void
remove_below(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        if (g_file_test(below, G_FILE_TEST_IS_DIR)) {
            remove_below(below);
            (void)rmdir(below);
        }
    }
}

/* With controllers for those below it nobody may be in the group itself: of an engine before. */
static void
renew(const char *path)
{
    remove_below(path);
    (void)write_file(path, "cgroup.subtree_control", "-memory -pids");
}

char *
cgroup_make(const struct process_kind *kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hierarchies); i++) {
        g_autofree char *procs = g_build_filename(hierarchies[i], "cgroup.procs", NULL);
        g_autofree char *parent = g_build_filename(hierarchies[i], PROCESS_CGROUP, NULL);
        g_autofree char *path = g_build_filename(parent, kind->name, NULL);
        if (access(procs, W_OK) < 0 || make(parent) < 0 || make(path) < 0) {
            continue;
        }
        renew(path);
        if (kind->delegate) {
            delegate(hierarchies[i], parent, path, kind->user);
        }
        return g_steal_pointer(&path);
    }
    return NULL;
}

int
cgroup_enter(const char *path)
{
    return write_file(path, "cgroup.procs", "0");
}

void
cgroup_remove(const char *path)
{
    g_autofree char *parent = g_path_get_dirname(path);
    remove_below(path);
    (void)rmdir(path);
    (void)rmdir(parent); /* the others' may still be there */
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <glib.h>

/* For the built-in signature and what libclamav unpacks while it loads. */
#define ROOT_SIZE "512m"
#define COPY_CHUNK (1 << 20)
/* Where the new root hangs until it becomes the root: any directory that every system has. */
#define ROOT_AT "/usr"

#define READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)

/* What is visible in the jail. A missing one is left out; a symbolic link is made again. */
static const struct {
    const char *path;
    uint64_t attributes;
} views[] = {
    {"/usr", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/lib", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/lib32", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/lib64", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/etc/ld.so.cache", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/etc/localtime", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/etc/ssl/openssl.cnf", READ_ONLY | MOUNT_ATTR_NODEV},
    {"/dev/null", READ_ONLY},
    {"/dev/urandom", READ_ONLY},
};
#define N_VIEWS G_N_ELEMENTS(views)

/* The view as a detached mount: -ENOENT when there is nothing to see. */
static int
view_open(int dirfd, const char *path, unsigned flags, uint64_t attributes)
{
    int fd = open_tree(dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | flags);
    if (fd < 0) {
        return -errno;
    }
    struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static bool
is_link(const char *path, char target[PATH_MAX])
{
    ssize_t n = readlink(path, target, PATH_MAX - 1);
    if (n >= 0) {
        target[n] = '\0';
    }
    return n >= 0;
}

/* Directories on the way to PATH (relative to ROOT), then a file or directory as TREE is one. */
static int
make_place(int root, const char *path, int tree)
{
    g_autofree char *copy = g_strdup(path);
    for (char *slash = strchr(copy, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(root, copy, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    struct stat st;
    if (fstatat(tree, "", &st, AT_EMPTY_PATH) < 0) {
        return -errno;
    }
    if (S_ISDIR(st.st_mode)) {
        return mkdirat(root, path, 0755) < 0 ? -errno : 0;
    }
    int fd = openat(root, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    return 0;
}

static int
place(int root, const char *path, int tree)
{
    int rc = make_place(root, path, tree);
    if (rc == 0 && move_mount(tree, "", root, path, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        rc = -errno;
    }
    return rc;
}

struct plan {
    int trees[N_VIEWS];            /* detached mounts, -1 = none */
    char links[N_VIEWS][PATH_MAX]; /* targets of what is a link, "" = no link */
};

/* Everything is opened before the new root hides it. Links in /etc are followed: their targets
 * need not be in the jail. */
static int
plan_views(struct plan *plan, char **error_r)
{
    for (size_t i = 0; i < N_VIEWS; i++) {
        bool top_level = strchr(views[i].path + 1, '/') == NULL;
        plan->trees[i] = -1;
        plan->links[i][0] = '\0';
        if (top_level && is_link(views[i].path, plan->links[i])) {
            continue;
        }
        int fd = view_open(AT_FDCWD, views[i].path, 0, views[i].attributes);
        if (fd == -ENOENT) {
            continue;
        }
        if (fd < 0) {
            *error_r = g_strdup_printf("%s cannot be shown read-only in the jail: %s",
                                       views[i].path, g_strerror(-fd));
            return fd;
        }
        plan->trees[i] = fd;
    }
    return 0;
}

static int
place_views(const struct plan *plan, int root, char **error_r)
{
    for (size_t i = 0; i < N_VIEWS; i++) {
        const char *path = views[i].path + 1;
        int rc = 0;
        if (plan->links[i][0] != '\0') {
            rc = symlinkat(plan->links[i], root, path) < 0 ? -errno : 0;
        } else if (plan->trees[i] >= 0) {
            rc = place(root, path, plan->trees[i]);
            close(plan->trees[i]);
        }
        if (rc < 0) {
            *error_r = g_strdup_printf("%s cannot be put into the jail: %s", views[i].path,
                                       g_strerror(-rc));
            return rc;
        }
    }
    return 0;
}

static int
new_root(void)
{
    int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0) {
        return -errno;
    }
    int root = -1;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "size", ROOT_SIZE, 0) == 0 &&
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID);
    }
    int rc = root < 0 ? -errno : root;
    close(fs);
    if (root >= 0 && move_mount(root, "", AT_FDCWD, ROOT_AT, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        rc = -errno;
        close(root);
    }
    return rc;
}

static int
turn(int root)
{
    if (mkdirat(root, "tmp", 0700) < 0 || fchdir(root) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return 0;
}

struct jail {
    struct plan plan;
    int signatures; /* detached mounts, -1 = none */
    int proc;
};

/* A copy, since the program was executed from a mount of the engine's, which cannot be shown here,
 * and in a directory that our user need not be able to reach. */
static int
copy_program(int root)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = openat(root, JAIL_PROGRAM + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555);
    ssize_t n = from < 0 || to < 0 ? -1 : 1;
    while (n > 0) {
        n = sendfile(to, from, NULL, COPY_CHUNK);
    }
    int rc = n < 0 ? -errno : 0;
    if (to >= 0 && close(to) < 0 && rc == 0) {
        rc = -errno;
    }
    if (from >= 0) {
        close(from);
    }
    return rc;
}

static int
build(const struct jail *jail, char **error_r)
{
    int root = new_root();
    if (root < 0) {
        *error_r = g_strdup_printf("the jail's root cannot be made: %s", g_strerror(-root));
        return root;
    }
    int rc = place_views(&jail->plan, root, error_r);
    if (rc == 0) {
        rc = copy_program(root);
    }
    if (rc == 0 && jail->signatures >= 0) {
        rc = place(root, JAIL_SIGNATURES + 1, jail->signatures);
    }
    if (rc == 0) {
        rc = turn(root);
    }
    if (rc < 0 && *error_r == NULL) {
        *error_r = g_strdup_printf("the jail cannot be entered: %s", g_strerror(-rc));
    }
    close(root);
    return rc;
}

/* All that is taken along, as mounts of their own: a descriptor of the old ones would keep the
 * old root. */
static int
collect(struct jail *jail, int generation, char **error_r)
{
    int rc = plan_views(&jail->plan, error_r);
    if (rc < 0) {
        return rc;
    }
    jail->proc = view_open(AT_FDCWD, "/proc", 0, 0);
    rc = MIN(jail->proc, 0);
    if (rc < 0) {
        *error_r = g_strdup_printf("/proc cannot be taken into the jail: %s", g_strerror(-rc));
        return rc;
    }
    if (generation < 0) {
        return 0;
    }
    jail->signatures =
        view_open(generation, "", AT_EMPTY_PATH, READ_ONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    rc = MIN(jail->signatures, 0);
    if (rc < 0) {
        *error_r =
            g_strdup_printf("the signatures cannot be shown in the jail: %s", g_strerror(-rc));
    }
    return rc;
}

int
jail_enter(int generation, int *ret_proc, char **error_r)
{
    struct jail *jail = g_new0(struct jail, 1);
    jail->signatures = -1;
    umask(022);
    /* Slave, not private: mounts that go away outside go away here too, until the pivot. */
    int rc = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? -errno : 0;
    if (rc < 0) {
        *error_r = g_strdup_printf("the mount namespace is unusable: %s", g_strerror(-rc));
    }
    if (rc == 0) {
        rc = collect(jail, generation, error_r);
    }
    if (rc == 0) {
        rc = build(jail, error_r);
    }
    if (jail->signatures >= 0) {
        close(jail->signatures);
    }
    *ret_proc = jail->proc;
    g_free(jail);
    return rc;
}

int
jail_drop_capabilities(void)
{
    const uint32_t keep =
        1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_SYS_ADMIN | 1U << CAP_SETPCAP;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = keep, .permitted = keep}};
    if (syscall(SYS_capset, &header, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    return 0;
}

int
jail_seal(void)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    return mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr) < 0 ? -errno : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounts.h"

#define OWN_ROOT "/run/postern/"
#define MTA_GROUP "postfix"
#define MOUNT_NAME "postern"
#define BUSY_WAIT_US 50000
#define BUSY_MAX_US (2 * G_TIME_SPAN_SECOND)

char *
milter_directory(const struct settings *settings)
{
    for (char **listen = settings->milter_listen; *listen != NULL; listen++) {
        if (g_str_has_prefix(*listen, "unix:/")) {
            return g_path_get_dirname(*listen + strlen("unix:"));
        }
    }
    return NULL;
}

/* By descriptor, since the user could put a link in the directory's place. */
static int
admit_fd(int fd, const struct passwd *user, const struct group *group)
{
    gid_t gid = group != NULL ? group->gr_gid : user->pw_gid;
    struct stat is;
    if (fstat(fd, &is) < 0) {
        return -errno;
    }
    if (is.st_uid == user->pw_uid && is.st_gid == gid && (is.st_mode & 07777) == 02750) {
        return 0;
    }
    return fchown(fd, user->pw_uid, gid) < 0 || fchmod(fd, 02750) < 0 ? -errno : 0;
}

int
milter_admit(const char *directory, const char *user, char **error_r)
{
    g_autofree char *canonical = g_canonicalize_filename(directory, "/");
    if (!g_str_has_prefix(canonical, OWN_ROOT)) {
        return 0;
    }
    const struct passwd *owner = getpwnam(user);
    if (owner == NULL) {
        *error_r = g_strdup_printf("there is no user %s: run systemd-sysusers", user);
        return -ENOENT;
    }
    int fd = open(canonical, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 ? -errno : admit_fd(fd, owner, getgrnam(MTA_GROUP));
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s; systemd-tmpfiles --create makes it", canonical,
                                   g_strerror(-rc));
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

char *
milter_mount_point(const char *queue_directory)
{
    char *real = realpath(queue_directory, NULL);
    char *mount = g_build_filename(real != NULL ? real : queue_directory, MOUNT_NAME, NULL);
    free(real);
    return mount;
}

/* Somebody else must not be able to lead the mount elsewhere. */
static int
check_queue(const char *queue_directory)
{
    struct stat is;
    if (stat(queue_directory, &is) < 0) {
        return -errno;
    }
    if (!S_ISDIR(is.st_mode)) {
        return -ENOTDIR;
    }
    return is.st_uid != 0 || (is.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? -EPERM : 0;
}

int
milter_mount(const char *directory, const char *queue_directory, char **ret_mount, char **error_r)
{
    struct stat is;
    int rc = check_queue(queue_directory);
    if (rc < 0) {
        *error_r =
            g_strdup_printf("queue_directory %s: %s", queue_directory,
                            rc == -EPERM ? "others than root can write to it" : g_strerror(-rc));
        return rc;
    }
    g_autofree char *mount_point = milter_mount_point(queue_directory);
    if (!mounts_has(mount_point)) {
        if (mkdir(mount_point, 0755) < 0 && errno != EEXIST) {
            rc = -errno;
        } else if (lstat(mount_point, &is) < 0 || !S_ISDIR(is.st_mode)) {
            rc = -ENOTDIR;
        } else if (mount(directory, mount_point, NULL, MS_BIND, NULL) < 0) {
            rc = -errno;
        }
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s cannot be mounted on %s: %s", directory, mount_point,
                                   g_strerror(-rc));
        return rc;
    }
    *ret_mount = g_steal_pointer(&mount_point);
    return 0;
}

int
milter_unmount(const char *mount, gint64 deadline, char **error_r)
{
    bool was_mounted = false;
    gint64 patience = MIN(deadline, g_get_monotonic_time() + BUSY_MAX_US);
    while (mounts_has(mount)) {
        was_mounted = true;
        bool is_late = g_get_monotonic_time() >= patience;
        if (umount2(mount, UMOUNT_NOFOLLOW | (is_late ? MNT_DETACH : 0)) == 0) {
            continue;
        }
        if (errno == EINVAL || errno == ENOENT) {
            break;
        }
        if (errno != EBUSY || is_late) {
            int rc = -errno;
            *error_r = g_strdup_printf("%s cannot be unmounted: %s", mount, g_strerror(-rc));
            return rc;
        }
        g_usleep(BUSY_WAIT_US);
    }
    if (was_mounted) {
        (void)rmdir(mount);
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "tmpdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper than libclamav nests its directories. */
#define DEPTH_MAX 200

static struct stat adopted;

static int
configure(int fs, guint64 size, unsigned uid, unsigned gid)
{
    char size_text[32];
    char uid_text[16];
    char gid_text[16];
    snprintf(size_text, sizeof size_text, "%llu", (unsigned long long)size);
    snprintf(uid_text, sizeof uid_text, "%u", uid);
    snprintf(gid_text, sizeof gid_text, "%u", gid);
    if (fsconfig(fs, FSCONFIG_SET_STRING, "size", size_text, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "uid", uid_text, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "gid", gid_text, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -errno;
    }
    return 0;
}

int
tmpdir_new(guint64 size, unsigned uid, unsigned gid)
{
    int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0) {
        return -errno;
    }
    int rc = configure(fs, size, uid, gid);
    if (rc == 0) {
        rc = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        rc = rc < 0 ? -errno : rc;
    }
    close(fs);
    return rc;
}

static int remove_entry(int dirfd, const char *name, unsigned depth);

static int
remove_contents(int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    const struct dirent *entry;
    int rc = 0;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = remove_entry(fd, entry->d_name, depth);
        }
    }
    closedir(dir);
    return rc;
}

static int
remove_entry(int dirfd, const char *name, unsigned depth)
{
    if (unlinkat(dirfd, name, 0) == 0) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -errno;
    }
    if (depth >= DEPTH_MAX) {
        return -ELOOP;
    }
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 ? -errno : remove_contents(fd, depth + 1);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0) {
        rc = -errno;
    }
    return rc;
}

static bool
is_empty(DIR *dir)
{
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            return false;
        }
    }
    return true;
}

int
tmpdir_adopt(void)
{
    DIR *dir = opendir(".");
    if (dir == NULL) {
        return -errno;
    }
    int rc = fstat(dirfd(dir), &adopted) < 0 ? -errno : 0;
    if (rc == 0 && !is_empty(dir)) {
        rc = -ENOTEMPTY;
    }
    closedir(dir);
    return rc;
}

int
tmpdir_empty(void)
{
    struct stat st = {0};
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && (st.st_dev != adopted.st_dev || st.st_ino != adopted.st_ino)) {
        rc = -EXDEV;
    }
    if (rc < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    return remove_contents(fd, 0);
}

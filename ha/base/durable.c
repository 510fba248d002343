/* SPDX-License-Identifier: GPL-2.0-only */
#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#define TMP_NAME_SIZE 48

int
durable_write_all(int fd, const void *buf, size_t len)
{
    const char *p = buf;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* By the descriptor: where another user owns the directory, a name may be a link by then. */
static int
set_mode(int fd, unsigned mode)
{
    struct stat st;
    return fstat(fd, &st) < 0 || ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0) ? -errno
                                                                                        : 0;
}

static int
tmp_open(int dirfd, char name[TMP_NAME_SIZE], unsigned mode)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        return -EIO;
    }
    snprintf(name, TMP_NAME_SIZE, DURABLE_TMP_PREFIX "%016llx", (unsigned long long)random);
    int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    int rc = fd < 0 ? -errno : set_mode(fd, mode);
    if (fd >= 0 && rc < 0) {
        close(fd);
        (void)unlinkat(dirfd, name, 0);
    }
    return rc < 0 ? rc : fd;
}

static int
write_pieces(int fd, const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++) {
        int rc = durable_write_all(fd, iov[i].iov_base, iov[i].iov_len);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* NFS and thin volumes report a full disk as late as fsync or close: both are checked. */
static int
sync_and_close(int fd)
{
    int rc = fsync(fd) < 0 ? -errno : 0;
    if (close(fd) < 0 && rc == 0) {
        rc = -errno;
    }
    return rc;
}

int
durable_begin(struct durable_file *file, int dirfd, unsigned mode)
{
    G_STATIC_ASSERT(sizeof file->tmp == TMP_NAME_SIZE);
    file->dirfd = dirfd;
    file->fd = tmp_open(dirfd, file->tmp, mode);
    return file->fd < 0 ? file->fd : 0;
}

void
durable_abort(struct durable_file *file)
{
    close(file->fd);
    file->fd = -1;
    (void)unlinkat(file->dirfd, file->tmp, 0);
}

int
durable_commit(struct durable_file *file, const char *name)
{
    int rc = sync_and_close(file->fd);
    file->fd = -1;
    if (rc == 0 && renameat(file->dirfd, file->tmp, file->dirfd, name) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        (void)unlinkat(file->dirfd, file->tmp, 0);
        return rc;
    }
    return fsync(file->dirfd) < 0 ? -errno : 0;
}

int
durable_write(int dirfd, const char *name, const struct iovec *iov, int iovcnt, unsigned mode)
{
    struct durable_file file;
    int rc = durable_begin(&file, dirfd, mode);
    if (rc < 0) {
        return rc;
    }
    rc = write_pieces(file.fd, iov, iovcnt);
    if (rc < 0) {
        durable_abort(&file);
        return rc;
    }
    return durable_commit(&file, name);
}

int
durable_mkdir(int dirfd, const char *name, unsigned mode)
{
    if (mkdirat(dirfd, name, mode) < 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    return fsync(dirfd) < 0 ? -errno : 0;
}

int
durable_replace_text(const char *path, const char *text, unsigned mode)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    char tmp[TMP_NAME_SIZE];
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return -errno;
    }
    int fd = tmp_open(dirfd, tmp, mode);
    int rc = fd;
    if (fd >= 0) {
        rc = durable_write_all(fd, text, strlen(text));
        if (close(fd) < 0 && rc == 0) {
            rc = -errno;
        }
        if (rc == 0 && renameat(dirfd, tmp, dirfd, name) < 0) {
            rc = -errno;
        }
        if (rc < 0) {
            (void)unlinkat(dirfd, tmp, 0);
        }
    }
    close(dirfd);
    return rc;
}

static int
overwrite(const char *path, const char *text)
{
    size_t len = strlen(text);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc = fd < 0 ? -errno : durable_write_all(fd, text, len);
    if (rc == 0 && ftruncate(fd, (off_t)len) < 0) {
        rc = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

int
durable_keep_text(const char *path, const char *text, unsigned mode)
{
    int rc = durable_replace_text(path, text, mode);
    return rc == -ENOSPC || rc == -EDQUOT ? overwrite(path, text) : rc;
}

/* Whoever makes a folder decides its mode, not that person's umask. */
static int
dir_make(const char *path, unsigned mode)
{
    g_autofree char *parent = g_path_get_dirname(path);
    if (!g_file_test(parent, G_FILE_TEST_EXISTS)) {
        int rc = dir_make(parent, 0755);
        if (rc < 0) {
            return rc;
        }
    }
    if (mkdir(path, mode) < 0) {
        return errno == EEXIST ? 0 : -errno;
    }
    return chmod(path, mode) < 0 ? -errno : 0;
}

int
durable_private_dir(const char *path)
{
    return dir_make(path, 0700);
}

int
durable_public_dir(const char *path)
{
    return dir_make(path, 0755);
}

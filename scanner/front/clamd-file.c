/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "durable.h"

#define COPY_SIZE 262144U
#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

/* A directory that is being read. */
struct level {
    DIR *dir;
    char *path;
};

struct clamd_walk {
    char **roots;
    char *path;
    bool begun;
    GPtrArray *levels; /* of struct level *, the deepest last */
};

/* --- content -------------------------------------------------------------------------------- */

int
clamd_file_size(int fd, guint64 *ret_size)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -ENOTSUP;
    }
    *ret_size = (guint64)st.st_size;
    return 0;
}

static ssize_t
read_at(int fd, void *bytes, gsize len, guint64 at)
{
    ssize_t n;
    do {
        n = pread(fd, bytes, len, (off_t)at);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* By position: the offset of a passed descriptor is its owner's too. */
static int
copy_content(int fd, int memory, guint64 size)
{
    g_autofree char *bytes = g_malloc(COPY_SIZE);
    guint64 at = 0;
    for (;;) {
        /* One byte more than is due tells whether it has grown. */
        ssize_t n = read_at(fd, bytes, (gsize)MIN(COPY_SIZE, size - at + 1), at);
        if (n < 0) {
            return (int)n;
        }
        if (n == 0 || (guint64)n > size - at) {
            return n == 0 && at == size ? 0 : -EUCLEAN;
        }
        int rc = durable_write_all(memory, bytes, (gsize)n);
        if (rc < 0) {
            return rc;
        }
        at += (guint64)n;
    }
}

int
clamd_file_copy(int fd, guint64 size)
{
    int memory = memfd_create("postern-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0) {
        return -errno;
    }
    int rc = copy_content(fd, memory, size);
    if (rc == 0 && (fcntl(memory, F_ADD_SEALS, SEALS) < 0 || lseek(memory, 0, SEEK_SET) < 0)) {
        rc = -errno;
    }
    if (rc < 0) {
        close(memory);
        return rc;
    }
    return memory;
}

/* --- opening -------------------------------------------------------------------------------- */

/* The part of PATH below ROOT ("." for ROOT itself), or NULL. */
static const char *
below(const char *root, const char *path)
{
    gsize len = strlen(root);
    while (len > 1 && root[len - 1] == '/') {
        len--;
    }
    if (strncmp(root, path, len) != 0) {
        return NULL;
    }
    const char *rest = path + len;
    if (len > 1 && *rest != '\0' && *rest != '/') {
        return NULL;
    }
    rest += strspn(rest, "/");
    return *rest == '\0' ? "." : rest;
}

static int
open_beneath(int dirfd, const char *name)
{
    const struct open_how how = {
        .flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

/* A descriptor that can only be looked at. Returns -EXDEV when PATH is below no root. */
static int
open_named(char *const *roots, const char *path)
{
    for (char *const *root = roots; *root != NULL; root++) {
        const char *rest = below(*root, path);
        if (rest == NULL) {
            continue;
        }
        int dirfd = open(*root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dirfd < 0) {
            return -errno;
        }
        int fd = open_beneath(dirfd, rest);
        close(dirfd);
        return fd;
    }
    return -EXDEV;
}

/* The same file again, for reading. */
static int
open_again(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | flags);
    return again < 0 ? -errno : again;
}

static const char *
error_text(int error)
{
    switch (error) {
    case -EXDEV:
        return "Path is not below a directory of clamd_paths.";
    case -ELOOP:
        return "Symbolic links are not followed.";
    case -EACCES:
    case -EPERM:
        return "Access denied.";
    case -ENOENT:
    case -ENOTDIR:
        return "File path check failure: No such file or directory.";
    case -ENOTSUP:
        return "Not supported file type";
    default:
        return "File path check failure: It cannot be opened.";
    }
}

/* --- the walk ------------------------------------------------------------------------------- */

static void
level_free(void *p)
{
    struct level *level = p;
    closedir(level->dir);
    g_free(level->path);
    g_free(level);
}

struct clamd_walk *
clamd_walk_new(char **roots, const char *path)
{
    struct clamd_walk *walk = g_new0(struct clamd_walk, 1);
    walk->roots = g_strdupv(roots);
    walk->path = g_strdup(path);
    walk->levels = g_ptr_array_new_with_free_func(level_free);
    return walk;
}

void
clamd_walk_free(struct clamd_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    g_ptr_array_unref(walk->levels);
    g_strfreev(walk->roots);
    g_free(walk->path);
    g_free(walk);
}

static void
entry_error(struct clamd_entry *entry, int error)
{
    entry->kind = CLAMD_ENTRY_ERROR;
    entry->error = error_text(error);
}

static void
entry_file(struct clamd_entry *entry, int fd, const struct stat *st)
{
    entry->size = (guint64)st->st_size;
    if (entry->size == 0) {
        return;
    }
    entry->kind = CLAMD_ENTRY_FILE;
    entry->fd = open_again(fd, 0);
    if (entry->fd < 0) {
        entry_error(entry, entry->fd);
        entry->fd = -1;
    }
}

static void
enter(struct clamd_walk *walk, int fd, struct clamd_entry *entry)
{
    if (walk->levels->len > CLAMD_WALK_DEPTH) {
        entry->kind = CLAMD_ENTRY_ERROR;
        entry->error = "Directory recursion limit reached.";
        return;
    }
    int dirfd = open_again(fd, O_DIRECTORY);
    DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
    if (dir == NULL) {
        entry_error(entry, dirfd < 0 ? dirfd : -errno);
        if (dirfd >= 0) {
            close(dirfd);
        }
        return;
    }
    struct level *level = g_new0(struct level, 1);
    level->dir = dir;
    level->path = g_strdup(entry->path);
    g_ptr_array_add(walk->levels, level);
}

/* Looks at FD (closed in the end), which ENTRY->path names. Leaves ENTRY an END when it is passed
 * over or was a directory that is now being read. */
static void
visit(struct clamd_walk *walk, int fd, struct clamd_entry *entry)
{
    struct stat st;
    if (fd < 0) {
        entry_error(entry, fd);
        return;
    }
    if (fstat(fd, &st) < 0) {
        entry_error(entry, -errno);
    } else if (S_ISDIR(st.st_mode)) {
        enter(walk, fd, entry);
    } else if (S_ISREG(st.st_mode)) {
        entry_file(entry, fd, &st);
    } else if (walk->levels->len == 0) {
        entry_error(entry, S_ISLNK(st.st_mode) ? -ELOOP : -ENOTSUP);
    }
    close(fd);
}

/* The first one: what the client named. */
static void
begin(struct clamd_walk *walk, struct clamd_entry *entry)
{
    walk->begun = true;
    entry->path = g_strdup(walk->path);
    int fd = walk->path[0] == '/' ? open_named(walk->roots, walk->path) : -EXDEV;
    visit(walk, fd, entry);
}

/* The next name of the deepest directory. */
static void
advance(struct clamd_walk *walk, struct clamd_entry *entry)
{
    struct level *level = g_ptr_array_index(walk->levels, walk->levels->len - 1);
    errno = 0;
    const struct dirent *dirent = readdir(level->dir);
    if (dirent == NULL) {
        if (errno != 0) {
            entry->path = g_strdup(level->path);
            entry_error(entry, -errno);
        }
        g_ptr_array_remove_index(walk->levels, walk->levels->len - 1);
        return;
    }
    if (strcmp(dirent->d_name, ".") == 0 || strcmp(dirent->d_name, "..") == 0 ||
        dirent->d_type == DT_LNK) {
        return;
    }
    entry->path = g_build_filename(level->path, dirent->d_name, NULL);
    int fd = open_beneath(dirfd(level->dir), dirent->d_name);
    if (fd == -ENOENT || fd == -ELOOP) {
        return; /* removed, or made a link, since */
    }
    visit(walk, fd, entry);
}

void
clamd_walk_next(struct clamd_walk *walk, struct clamd_entry *ret)
{
    *ret = (struct clamd_entry){.kind = CLAMD_ENTRY_END, .fd = -1};
    if (!walk->begun) {
        begin(walk, ret);
    }
    while (ret->kind == CLAMD_ENTRY_END && walk->levels->len > 0) {
        clamd_entry_clear(ret);
        advance(walk, ret);
    }
}

void
clamd_entry_clear(struct clamd_entry *entry)
{
    if (entry->fd >= 0) {
        close(entry->fd);
        entry->fd = -1;
    }
    g_clear_pointer(&entry->path, g_free);
}

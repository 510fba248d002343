/* SPDX-License-Identifier: GPL-2.0-only */
#include "draft.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cld-members.h"
#include "cvd-head.h"
#include "digest.h"
#include "durable.h"
#include "record.h"
#include "signature-files.h"
#include "text.h"

#define TMP_DIR DURABLE_TMP_PREFIX "generation"
#define CHUNK (1024U * 1024U)

struct draft {
    int base;
    int dir;
    guint64 limit;
    struct manifest *manifest;
};

void
draft_remove_dir(int base, const char *name)
{
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    g_autoptr(GPtrArray) names = fd < 0 ? NULL : signature_files_all(fd);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        (void)unlinkat(fd, g_ptr_array_index(names, i), 0);
    }
    if (fd >= 0) {
        close(fd);
        (void)unlinkat(base, name, AT_REMOVEDIR);
    }
}

/* The path of a directory that is open, for people. */
static char *
path_of(int fd)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    char *path = g_file_read_link(link, NULL);
    return path != NULL ? path : g_strdup("the directory");
}

static int
not_writable(int base, int rc, char **error_r)
{
    g_autofree char *path = path_of(base);
    return text_fail(error_r, rc, "%s: cannot be written: %s", path, g_strerror(-rc));
}

int
draft_begin(int base, guint64 limit, struct draft **ret, char **error_r)
{
    draft_remove_dir(base, TMP_DIR);
    if (mkdirat(base, TMP_DIR, 0755) < 0) {
        return not_writable(base, -errno, error_r);
    }
    int dir = openat(base, TMP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = dir < 0 || fchmod(dir, 0755) < 0 ? -errno : record_share(base, dir);
    if (rc < 0) {
        if (dir >= 0) {
            close(dir);
        }
        return not_writable(base, rc, error_r);
    }
    struct draft *draft = g_new0(struct draft, 1);
    draft->base = base;
    draft->dir = dir;
    draft->limit = limit;
    draft->manifest = manifest_new();
    *ret = draft;
    return 0;
}

const struct manifest *
draft_manifest(const struct draft *draft)
{
    return draft->manifest;
}

/* Returns the number of bytes, or -errno; never more than MOST. */
static gint64
copy_and_sum(int to, int from, guint64 most, struct digest *sum)
{
    g_autofree char *buffer = g_malloc(CHUNK);
    guint64 size = 0;
    ssize_t n;
    while ((n = read(from, buffer, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        size += n < 0 ? 0 : (guint64)n;
        int rc = n < 0 ? -errno : size > most ? -EFBIG : durable_write_all(to, buffer, (size_t)n);
        if (rc < 0) {
            return rc;
        }
        digest_add(sum, buffer, (size_t)n);
    }
    return (gint64)size;
}

static void
manifest_take(struct draft *draft, const char *name, const char *origin, int fd, guint64 size,
              const char *sum, const struct manifest_file *expected)
{
    struct stat st = {0};
    struct cvd_head head = {0};
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    (void)fstat(fd, &st);
    if (cvd_head_is_name(name)) {
        (void)cvd_head_read(fd, &head);
    }
    file->name = g_strdup(name);
    file->origin = g_utf8_make_valid(origin, -1);
    g_strlcpy(file->sha256, sum, sizeof file->sha256);
    file->size = size;
    file->time = expected != NULL ? expected->time : MAX(st.st_mtime, 0);
    file->version = head.version;
    file->signatures = head.signatures;
    file->built = head.built;
    manifest_add(draft->manifest, file);
}

static int
check_expected(const struct manifest_file *expected, guint64 size, const char *sum)
{
    return expected == NULL || (expected->size == size && strcmp(expected->sha256, sum) == 0)
               ? 0
               : -EBADMSG;
}

/* The name, the size and the kind of file, before a byte is copied. */
static int
check_source(struct draft *draft, const char *name, int fd, const char *shown, char **error_r)
{
    struct stat st;
    if (!g_utf8_validate(name, -1, NULL) || strchr(name, '/') != NULL || strlen(name) > 200 ||
        !signature_files_is_name(name)) {
        return text_fail(error_r, -EINVAL, "%s: no name for a signature file", shown);
    }
    if (signature_files_refusal(name) != NULL) {
        return text_fail(error_r, -EPERM, "%s: %s", shown, signature_files_refusal(name));
    }
    if (fstat(fd, &st) < 0) {
        return text_fail(error_r, -errno, "%s: %s", shown, g_strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return text_fail(error_r, -EINVAL, "%s: not a regular file", shown);
    }
    if (manifest_find(draft->manifest, name) != NULL) {
        return text_fail(error_r, -EINVAL, "%s: a file of that name is there already", shown);
    }
    if (draft->manifest->files->len == MANIFEST_FILES_MAX) {
        return text_fail(error_r, -E2BIG,
                         "%s: a generation has no more than %d files; put some together", shown,
                         MANIFEST_FILES_MAX);
    }
    return st.st_size == 0 ? text_fail(error_r, -ENODATA, "%s is empty", shown) : 0;
}

static int
copy_failed(int error, const char *shown, char **error_r)
{
    switch (error) {
    case -ENODATA:
        return text_fail(error_r, error, "%s is empty", shown);
    case -EFBIG:
        return text_fail(error_r, error, "%s: too large for a set of signatures (update_size)",
                         shown);
    case -EBADMSG:
        return text_fail(error_r, error, "%s: its content is not what its manifest says", shown);
    default:
        return text_fail(error_r, error, "%s: cannot be copied: %s", shown, g_strerror(-error));
    }
}

/* By its path, where it has one on this machine. */
static int
check_members(const struct durable_file *copy, const char *name, const char *origin, char **error_r)
{
    g_autofree char *shown = text_escape(*origin == '/' ? origin : name, 1000);
    return cld_members_check(copy->fd, name, shown, error_r);
}

int
draft_add(struct draft *draft, const char *name, int fd, const char *origin,
          const struct manifest_file *expected, char **error_r)
{
    g_autofree char *shown = text_escape(origin, 1000);
    g_autoptr(digest_t) sum = digest_new();
    char sha256[65] = "";
    struct durable_file copy;
    int rc = check_source(draft, name, fd, shown, error_r);
    if (rc < 0) {
        return rc;
    }
    rc = durable_begin(&copy, draft->dir, 0644);
    if (rc < 0) {
        return copy_failed(rc, shown, error_r);
    }
    guint64 room = draft->limit - MIN(draft->limit, manifest_bytes(draft->manifest));
    gint64 size = copy_and_sum(copy.fd, fd, room, sum);
    digest_end(sum, sha256);
    rc = size < 0    ? (int)size
         : size == 0 ? -ENODATA
                     : check_expected(expected, (guint64)size, sha256);
    if (rc < 0) {
        durable_abort(&copy);
        return copy_failed(rc, shown, error_r);
    }
    rc = check_members(&copy, name, origin, error_r);
    if (rc < 0) {
        durable_abort(&copy);
        return rc;
    }
    rc = durable_commit(&copy, name);
    if (rc < 0) {
        return copy_failed(rc, shown, error_r);
    }
    manifest_take(draft, name, origin, fd, (guint64)size, sha256, expected);
    return 0;
}

/* Replaces the directory NAME in one step where the file system can, so it is never missing. */
static int
put_over(int base, const char *name)
{
    if (renameat(base, TMP_DIR, base, name) == 0) {
        return 0;
    }
    if (errno != EEXIST && errno != ENOTEMPTY) {
        return -errno;
    }
    if (renameat2(base, TMP_DIR, base, name, RENAME_EXCHANGE) < 0) {
        if (errno != EINVAL && errno != ENOSYS) {
            return -errno;
        }
        draft_remove_dir(base, name);
        return renameat(base, TMP_DIR, base, name) < 0 ? -errno : 0;
    }
    draft_remove_dir(base, TMP_DIR);
    return 0;
}

int
draft_finish(struct draft *draft, const char *name, gboolean *existed_r, char **error_r)
{
    g_autofree char *own = g_strndup(draft->manifest->identity, MANIFEST_NAME_DIGITS);
    gboolean existed = FALSE;
    int rc = manifest_write(draft->manifest, draft->dir);
    if (rc < 0) {
        return text_fail(error_r, rc, MANIFEST_NAME ": cannot be written: %s", g_strerror(-rc));
    }
    if (name != NULL) {
        rc = put_over(draft->base, name);
    } else if (renameat(draft->base, TMP_DIR, draft->base, own) < 0) {
        existed = errno == EEXIST || errno == ENOTEMPTY;
        rc = existed ? 0 : -errno;
    }
    if (rc == 0 && fsync(draft->base) < 0) {
        rc = -errno;
    }
    if (existed_r != NULL) {
        *existed_r = existed;
    }
    return rc < 0 ? text_fail(error_r, rc, "%s: cannot be put in place: %s",
                              name != NULL ? name : own, g_strerror(-rc))
                  : 0;
}

void
draft_free(struct draft *draft)
{
    if (draft != NULL) {
        draft_remove_dir(draft->base, TMP_DIR);
        close(draft->dir);
        manifest_free(draft->manifest);
        g_free(draft);
    }
}

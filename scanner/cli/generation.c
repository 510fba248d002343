/* SPDX-License-Identifier: GPL-2.0-only */
#include "generation.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "durable.h"
#include "signature-files.h"

#define CURRENT "current"
#define MANIFEST "manifest.json"
#define TMP_CURRENT DURABLE_TMP_PREFIX "current"
#define TMP_DIR DURABLE_TMP_PREFIX "generation"
#define CHUNK (1024U * 1024U)

/* What is being made. */
struct draft {
    int base; /* signatures_dir, locked */
    int dir;  /* the temporary directory in it */
    json_t *files;
    GChecksum *identity;
    struct generation *result;
    char **error_r;
};

G_GNUC_PRINTF(3, 4)
static int
fail(struct draft *draft, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *draft->error_r = g_strdup_vprintf(format, args);
    va_end(args);
    return error;
}

/* Removes the flat directory NAME in BASE, as far as it is there. */
static void
remove_dir(int base, const char *name)
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

/* The lock lets one maker clear what a crashed one left. */
static int
base_open(struct draft *draft, const char *dir)
{
    int rc = durable_public_dir(dir);
    if (rc < 0) {
        return fail(draft, rc, "%s: cannot be made: %s", dir, g_strerror(-rc));
    }
    draft->base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (draft->base < 0) {
        return fail(draft, -errno, "%s: %s", dir, g_strerror(errno));
    }
    if (flock(draft->base, LOCK_EX | LOCK_NB) < 0) {
        return fail(draft, -EBUSY, "%s: signatures are being added by another process", dir);
    }
    remove_dir(draft->base, TMP_DIR);
    (void)unlinkat(draft->base, TMP_CURRENT, 0);
    if (mkdirat(draft->base, TMP_DIR, 0755) < 0) {
        return fail(draft, -errno, "%s: cannot be written: %s", dir, g_strerror(errno));
    }
    draft->dir = openat(draft->base, TMP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (draft->dir < 0 || fchmod(draft->dir, 0755) < 0) {
        return fail(draft, -errno, "%s: %s", dir, g_strerror(errno));
    }
    return 0;
}

/* Returns the number of bytes, or -errno. */
static gint64
copy_and_sum(int to, int from, GChecksum *sum)
{
    g_autofree char *buffer = g_malloc(CHUNK);
    gint64 size = 0;
    ssize_t n;
    while ((n = read(from, buffer, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        int rc = n < 0 ? -errno : durable_write_all(to, buffer, (size_t)n);
        if (rc < 0) {
            return rc;
        }
        g_checksum_update(sum, (const guchar *)buffer, n);
        size += n;
    }
    return size;
}

static void
manifest_add(struct draft *draft, const struct signature_file *file, const struct stat *st,
             gint64 size, const char *sum)
{
    g_autofree char *origin = g_utf8_make_valid(file->path, -1);
    g_autofree char *name = g_utf8_make_valid(file->name, -1);
    json_array_append_new(draft->files, json_pack("{s:s, s:I, s:s, s:s, s:I}", "file", name, "size",
                                                  (json_int_t)size, "sha256", sum, "origin", origin,
                                                  "time", (json_int_t)st->st_mtime));
    g_checksum_update(draft->identity, (const guchar *)file->name, (gssize)strlen(file->name) + 1);
    g_checksum_update(draft->identity, (const guchar *)sum, (gssize)strlen(sum) + 1);
    draft->result->files++;
    draft->result->bytes += (guint64)size;
}

static int
copy_to(struct draft *draft, const struct signature_file *file, int from)
{
    struct stat st;
    struct durable_file copy;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    int rc = durable_begin(&copy, draft->dir, 0644);
    if (rc < 0) {
        return fail(draft, rc, "%s: cannot be copied: %s", file->path, g_strerror(-rc));
    }
    gint64 size = fstat(from, &st) < 0 || fchmod(copy.fd, 0644) < 0
                      ? -errno
                      : copy_and_sum(copy.fd, from, sum);
    if (size <= 0) {
        durable_abort(&copy);
        return size == 0 ? fail(draft, -ENODATA, "%s is empty", file->path)
                         : fail(draft, (int)size, "%s: cannot be copied: %s", file->path,
                                g_strerror((int)-size));
    }
    rc = durable_commit(&copy, file->name);
    if (rc < 0) {
        return fail(draft, rc, "%s: cannot be copied: %s", file->path, g_strerror(-rc));
    }
    manifest_add(draft, file, &st, size, g_checksum_get_string(sum));
    return 0;
}

static int
copy_file(struct draft *draft, const struct signature_file *file)
{
    struct stat st;
    int from = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (from < 0) {
        return fail(draft, -errno, "%s: %s", file->path, g_strerror(errno));
    }
    int rc = fstat(from, &st) == 0 && S_ISREG(st.st_mode)
                 ? copy_to(draft, file, from)
                 : fail(draft, -EINVAL, "%s: not a regular file", file->path);
    close(from);
    return rc;
}

static int
manifest_write(struct draft *draft)
{
    const char *identity = g_checksum_get_string(draft->identity);
    json_t *manifest =
        json_pack("{s:i, s:s, s:I, s:O}", "version", 1, "identity", identity, "created",
                  (json_int_t)(g_get_real_time() / G_USEC_PER_SEC), "files", draft->files);
    char *text = json_dumps(manifest, JSON_INDENT(2));
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    int rc = durable_write(draft->dir, MANIFEST, &iov, 1, 0644);
    json_decref(manifest);
    free(text);
    g_strlcpy(draft->result->name, identity, sizeof draft->result->name);
    if (rc == 0 && fchmodat(draft->dir, MANIFEST, 0644, 0) < 0) {
        rc = -errno;
    }
    return rc < 0 ? fail(draft, rc, MANIFEST ": cannot be written: %s", g_strerror(-rc)) : 0;
}

/* A generation of that name is the same one, whole, or it would not have its name. */
static int
put_in_place(struct draft *draft)
{
    const char *name = draft->result->name;
    if (renameat(draft->base, TMP_DIR, draft->base, name) < 0) {
        if (errno != EEXIST && errno != ENOTEMPTY) {
            return fail(draft, -errno, "%s: cannot be put in place: %s", name, g_strerror(errno));
        }
        draft->result->existed = TRUE;
    }
    return 0;
}

static int
point_current(struct draft *draft)
{
    if (symlinkat(draft->result->name, draft->base, TMP_CURRENT) < 0 ||
        renameat(draft->base, TMP_CURRENT, draft->base, CURRENT) < 0 || fsync(draft->base) < 0) {
        return fail(draft, -errno, CURRENT ": cannot be set: %s", g_strerror(errno));
    }
    return 0;
}

static int
make(struct draft *draft, const GPtrArray *files)
{
    int rc = 0;
    for (guint i = 0; i < files->len && rc == 0; i++) {
        rc = copy_file(draft, g_ptr_array_index(files, i));
    }
    if (rc == 0) {
        rc = manifest_write(draft);
    }
    if (rc == 0) {
        rc = put_in_place(draft);
    }
    return rc < 0 ? rc : point_current(draft);
}

int
generation_add(const char *dir, char *const paths[], struct generation *ret, char **error_r)
{
    struct draft draft = {.base = -1, .dir = -1, .result = ret, .error_r = error_r};
    *ret = (struct generation){.files = 0};
    g_autoptr(GPtrArray) files = signature_files_find(paths, error_r);
    if (files == NULL) {
        return -EINVAL;
    }
    draft.files = json_array();
    draft.identity = g_checksum_new(G_CHECKSUM_SHA256);
    int rc = base_open(&draft, dir);
    if (rc == 0) {
        rc = make(&draft, files);
    }
    if (draft.dir >= 0) {
        close(draft.dir);
        remove_dir(draft.base, TMP_DIR);
    }
    if (draft.base >= 0) {
        close(draft.base);
    }
    json_decref(draft.files);
    g_checksum_free(draft.identity);
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "cvd-head.h"
#include "durable.h"
#include "json-file.h"
#include "signature-files.h"
#include "text.h"

#define MANIFEST_MAX (1024U * 1024U)
#define NAME_LONGEST 200
/* Clocks differ by less. */
#define FUTURE_SECONDS (24 * 3600)

static void
file_free(void *p)
{
    struct manifest_file *file = p;
    g_free(file->name);
    g_free(file->origin);
    g_free(file);
}

struct manifest *
manifest_new(void)
{
    struct manifest *manifest = g_new0(struct manifest, 1);
    manifest->created = g_get_real_time() / G_USEC_PER_SEC;
    manifest->files = g_ptr_array_new_with_free_func(file_free);
    return manifest;
}

void
manifest_free(struct manifest *manifest)
{
    if (manifest != NULL) {
        g_ptr_array_unref(manifest->files);
        g_free(manifest);
    }
}

static int
by_name(const void *a, const void *b)
{
    const struct manifest_file *one = *(struct manifest_file *const *)a;
    const struct manifest_file *two = *(struct manifest_file *const *)b;
    return strcmp(one->name, two->name);
}

/* To be called when all files are there: for each of many it takes too long. */
static void
identify(struct manifest *manifest)
{
    g_autoptr(GChecksum) identity = g_checksum_new(G_CHECKSUM_SHA256);
    g_ptr_array_sort(manifest->files, by_name);
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *each = g_ptr_array_index(manifest->files, i);
        g_checksum_update(identity, (const guchar *)each->name, (gssize)strlen(each->name) + 1);
        g_checksum_update(identity, (const guchar *)each->sha256, sizeof each->sha256);
    }
    g_strlcpy(manifest->identity, g_checksum_get_string(identity), sizeof manifest->identity);
}

void
manifest_add(struct manifest *manifest, struct manifest_file *file)
{
    g_ptr_array_add(manifest->files, file);
    identify(manifest);
}

const struct manifest_file *
manifest_find(const struct manifest *manifest, const char *name)
{
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        if (strcmp(file->name, name) == 0) {
            return file;
        }
    }
    return NULL;
}

guint64
manifest_bytes(const struct manifest *manifest)
{
    guint64 bytes = 0;
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        bytes += file->size;
    }
    return bytes;
}

const struct manifest_file *
manifest_older(const struct manifest *manifest, const struct manifest *than, guint *version)
{
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *one = g_ptr_array_index(manifest->files, i);
        for (guint k = 0; k < than->files->len; k++) {
            const struct manifest_file *other = g_ptr_array_index(than->files, k);
            if (cvd_head_is_same(one->name, other->name) && one->version < other->version) {
                *version = other->version;
                return one;
            }
        }
    }
    return NULL;
}

/* Not later than UNTIL; 0: there is none. */
static gint64
newest_until(const struct manifest *manifest, gint64 until)
{
    gint64 newest = 0;
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        gint64 time = file->built > 0 ? file->built : file->time;
        newest = time <= until ? MAX(newest, time) : newest;
    }
    return newest;
}

/* When the official daily database was built; 0: there is none. */
static gint64
daily_built(const struct manifest *manifest)
{
    const struct manifest_file *cvd = manifest_find(manifest, "daily.cvd");
    const struct manifest_file *cld = manifest_find(manifest, "daily.cld");
    return MAX(cvd != NULL ? cvd->built : 0, cld != NULL ? cld->built : 0);
}

gint64
manifest_time(const struct manifest *manifest)
{
    gint64 until = MIN(manifest->created, G_MAXINT64 - FUTURE_SECONDS) + FUTURE_SECONDS;
    gint64 newest = daily_built(manifest);
    if (newest > 0 && newest <= until) {
        return newest;
    }
    newest = newest_until(manifest, until);
    /* When all of them are, it was the clock here that was behind. */
    return newest > 0 ? newest : newest_until(manifest, G_MAXINT64);
}

static json_t *
file_json(const struct manifest_file *file)
{
    json_t *object =
        json_pack("{s:s, s:I, s:s, s:s, s:I}", "file", file->name, "size", (json_int_t)file->size,
                  "sha256", file->sha256, "origin", file->origin, "time", (json_int_t)file->time);
    if (file->version > 0) {
        json_object_set_new(object, "database_version", json_integer(file->version));
        json_object_set_new(object, "signatures", json_integer((json_int_t)file->signatures));
        json_object_set_new(object, "built", json_integer(file->built));
    }
    return object;
}

int
manifest_write(const struct manifest *manifest, int dirfd)
{
    json_t *files = json_array();
    for (guint i = 0; i < manifest->files->len; i++) {
        json_array_append_new(files, file_json(g_ptr_array_index(manifest->files, i)));
    }
    json_t *object = json_pack("{s:i, s:s, s:I, s:o}", "version", 1, "identity", manifest->identity,
                               "created", (json_int_t)manifest->created, "files", files);
    char *text = json_dumps(object, JSON_INDENT(2));
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    int rc =
        iov.iov_len > MANIFEST_MAX ? -EFBIG : durable_write(dirfd, MANIFEST_NAME, &iov, 1, 0644);
    json_decref(object);
    free(text);
    return rc;
}

/* A number that is not below zero; ABSENT when the object has none. */
static gint64
number_of(json_t *object, const char *name, gint64 absent)
{
    json_t *value = json_object_get(object, name);
    if (value == NULL) {
        return absent;
    }
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

static gboolean
is_sha256(const char *text)
{
    return text != NULL && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static gboolean
is_name(const char *name)
{
    return name != NULL && *name != '\0' && *name != '.' && strlen(name) <= NAME_LONGEST &&
           strchr(name, '/') == NULL && signature_files_is_name(name);
}

static int
file_parse(struct manifest *manifest, json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "file"));
    const char *sum = json_string_value(json_object_get(object, "sha256"));
    const char *origin = json_string_value(json_object_get(object, "origin"));
    gint64 size = number_of(object, "size", -1);
    gint64 time = number_of(object, "time", -1);
    gint64 version = number_of(object, "database_version", 0);
    gint64 signatures = number_of(object, "signatures", 0);
    gint64 built = number_of(object, "built", 0);
    if (!is_name(name) || !is_sha256(sum) || origin == NULL || size <= 0 || time < 0 ||
        version < 0 || version > G_MAXINT || signatures < 0 || built < 0 ||
        manifest_find(manifest, name) != NULL) {
        return -EBADMSG;
    }
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    file->name = g_strdup(name);
    file->origin = g_strdup(origin);
    g_strlcpy(file->sha256, sum, sizeof file->sha256);
    file->size = (guint64)size;
    file->time = time;
    file->version = (guint)version;
    file->signatures = (guint64)signatures;
    file->built = built;
    g_ptr_array_add(manifest->files, file);
    return 0;
}

static int
parse(json_t *object, struct manifest **ret)
{
    g_autoptr(manifest_t) manifest = manifest_new();
    json_t *files = json_object_get(object, "files");
    size_t i;
    json_t *file;
    manifest->created = number_of(object, "created", -1);
    if (number_of(object, "version", -1) != 1 || manifest->created < 0 ||
        json_array_size(files) == 0 || json_array_size(files) > MANIFEST_FILES_MAX) {
        return -EBADMSG;
    }
    json_array_foreach(files, i, file)
    {
        if (file_parse(manifest, file) < 0) {
            return -EBADMSG;
        }
    }
    identify(manifest);
    if (g_strcmp0(json_string_value(json_object_get(object, "identity")), manifest->identity) !=
        0) {
        return -EBADMSG;
    }
    *ret = g_steal_pointer(&manifest);
    return 0;
}

int
manifest_read(int dirfd, struct manifest **ret, char **error_r)
{
    int fd = openat(dirfd, MANIFEST_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        int rc = -errno;
        *error_r = g_strdup_printf(MANIFEST_NAME ": %s", g_strerror(-rc));
        return rc;
    }
    json_t *object = json_file_read(fd, MANIFEST_MAX);
    close(fd);
    int rc = parse(object, ret);
    json_decref(object);
    if (rc < 0) {
        *error_r = g_strdup(MANIFEST_NAME ": is not what a manifest looks like");
    }
    return rc;
}

gint64
manifest_newest(const char *signatures_dir)
{
    g_autofree char *path = g_build_filename(signatures_dir, "current", NULL);
    g_autofree char *error = NULL;
    g_autoptr(manifest_t) manifest = NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)manifest_read(fd, &manifest, &error);
        close(fd);
    }
    return manifest == NULL ? 0 : manifest_time(manifest);
}

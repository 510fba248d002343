/* SPDX-License-Identifier: GPL-2.0-only */
#include "offer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "draft.h"
#include "signature-files.h"
#include "source.h"
#include "text.h"

/* A file that goes into the offer. */
struct piece {
    char *name;
    char *origin;
    int fd;
    char sha256[65];
};

static void
piece_free(void *p)
{
    struct piece *piece = p;
    close(piece->fd);
    g_free(piece->name);
    g_free(piece->origin);
    g_free(piece);
}

static int
fail(char **error_r, int error, const char *what, const char *why)
{
    g_autofree char *shown = text_escape(what, 1000);
    *error_r = g_strdup_printf("%s: %s", shown, why);
    return error;
}

/* Takes NAME over. ORIGIN is the path of a file of this machine, or where it was fetched from. */
static int
piece_add(GPtrArray *pieces, int dir, char *name, const char *origin, guint64 limit, char **error_r)
{
    struct piece *piece = g_new0(struct piece, 1);
    const char *shown = *origin == '/' ? origin : name;
    piece->name = name;
    piece->origin = g_strdup(origin);
    piece->fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (piece->fd < 0) {
        int rc = fail(error_r, -errno, shown, g_strerror(errno));
        piece_free(piece);
        return rc;
    }
    g_ptr_array_add(pieces, piece);
    for (guint i = 0; i + 1 < pieces->len; i++) {
        const struct piece *other = g_ptr_array_index(pieces, i);
        if (strcmp(other->name, name) == 0) {
            return fail(error_r, -EEXIST, shown,
                        "comes from two sources (update_databases, update_urls, "
                        "update_directories); take it from one");
        }
    }
    gint64 size = signature_files_sum(piece->fd, limit, piece->sha256);
    if (size > 0) {
        return lseek(piece->fd, 0, SEEK_SET) < 0 ? -errno : 0;
    }
    return size == 0 ? fail(error_r, -ENODATA, shown, "is empty")
                     : fail(error_r, (int)size, shown, g_strerror((int)-size));
}

static int
add_source(GPtrArray *pieces, const struct settings *settings, const struct source *source,
           char **error_r)
{
    g_autofree char *path = source_dir(settings, source->name);
    g_autofree char *origin = source_origin(source, settings);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = 0;
    for (char **file = source->files; *file != NULL && rc == 0; file++) {
        char *name = dir < 0 ? NULL : source_file(source, dir, *file);
        if (name != NULL) {
            rc = piece_add(pieces, dir, name, origin, settings->update_size, error_r);
        } else if (source->url == NULL) {
            /* A set without daily would look new and find less than the old one. */
            rc = fail(error_r, -ENOENT, *file,
                      "has never been fetched; nothing is offered without it");
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    return rc;
}

static int
add_directory(GPtrArray *pieces, const struct settings *settings, const char *path, char **error_r)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GPtrArray) names = dir < 0 ? NULL : signature_files_all(dir);
    int rc = names == NULL ? fail(error_r, dir < 0 ? -errno : -EIO, path, g_strerror(errno)) : 0;
    for (guint i = 0; names != NULL && rc == 0 && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (signature_files_is_name(name)) {
            g_autofree char *origin = g_build_filename(path, name, NULL);
            rc = piece_add(pieces, dir, g_strdup(name), origin, settings->update_size, error_r);
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    return rc;
}

static int
collect(GPtrArray *pieces, const struct settings *settings, char **error_r)
{
    g_autoptr(GPtrArray) sources = sources_of(settings);
    int rc = 0;
    for (guint i = 0; i < sources->len && rc == 0; i++) {
        rc = add_source(pieces, settings, g_ptr_array_index(sources, i), error_r);
    }
    for (char **path = settings->update_directories; *path != NULL && rc == 0; path++) {
        rc = add_directory(pieces, settings, *path, error_r);
    }
    return rc == 0 && pieces->len == 0
               ? fail(error_r, -ENOENT, settings->update_dir,
                      "nothing is configured to be fetched, or nothing came yet")
               : rc;
}

/* Whether the offer in BASE has these files, so that nothing is copied each hour for nothing. */
static gboolean
is_same(int base, GPtrArray *pieces, struct offer *ret)
{
    g_autofree char *error = NULL;
    g_autoptr(manifest_t) manifest = NULL;
    int dir = openat(base, OFFER_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    gboolean same = dir >= 0 && manifest_read(dir, &manifest, &error) == 0 &&
                    manifest->files->len == pieces->len;
    for (guint i = 0; same && i < pieces->len; i++) {
        const struct piece *piece = g_ptr_array_index(pieces, i);
        const struct manifest_file *file = manifest_find(manifest, piece->name);
        same = file != NULL && strcmp(file->sha256, piece->sha256) == 0 &&
               faccessat(dir, piece->name, R_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (dir >= 0) {
        close(dir);
    }
    if (same) {
        g_strlcpy(ret->name, manifest->identity, sizeof ret->name);
    }
    return same;
}

static int
publish(int base, const struct settings *settings, GPtrArray *pieces, struct offer *ret,
        char **error_r)
{
    g_autoptr(draft_t) draft = NULL;
    int rc = draft_begin(base, settings->update_size, &draft, error_r);
    for (guint i = 0; i < pieces->len && rc == 0; i++) {
        const struct piece *piece = g_ptr_array_index(pieces, i);
        rc = draft_add(draft, piece->name, piece->fd, piece->origin, NULL, error_r);
    }
    if (rc == 0) {
        g_strlcpy(ret->name, draft_manifest(draft)->identity, sizeof ret->name);
        ret->is_new = TRUE;
        rc = draft_finish(draft, OFFER_DIR, NULL, error_r);
    }
    return rc;
}

int
offer_make(const struct settings *settings, struct offer *ret, char **error_r)
{
    g_autoptr(GPtrArray) pieces = g_ptr_array_new_with_free_func(piece_free);
    *ret = (struct offer){.is_new = FALSE};
    int base = open(settings->update_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) {
        return fail(error_r, -errno, settings->update_dir, g_strerror(errno));
    }
    int rc = collect(pieces, settings, error_r);
    if (rc == 0 && !is_same(base, pieces, ret)) {
        rc = publish(base, settings, pieces, ret, error_r);
    }
    close(base);
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "offer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cld-members.h"
#include "cvd-head.h"
#include "draft.h"
#include "signature-files.h"
#include "source.h"
#include "space.h"
#include "text.h"
#include "update-files.h"

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

static void
problem_free(void *p)
{
    struct offer_problem *problem = p;
    g_free(problem->path);
    g_free(problem->error);
    g_free(problem);
}

void
offer_clear(struct offer *offer)
{
    g_clear_pointer(&offer->problems, g_ptr_array_unref);
}

/* What goes into the offer. */
struct collection {
    const struct settings *settings;
    GPtrArray *pieces;   /* of struct piece * */
    GPtrArray *problems; /* of struct offer_problem * */
    guint64 bytes;
    int last;              /* the directory of the offer that is there; -1: none is */
    struct manifest *have; /* what is in it; NULL: nothing */
};

static void
complain(const struct collection *all, const char *path, const char *error)
{
    struct offer_problem *problem = g_new0(struct offer_problem, 1);
    problem->path = g_strdup(path);
    problem->error = g_strdup(error);
    g_ptr_array_add(all->problems, problem);
}

static int
check_twins(const struct collection *all, const char *name, const char *shown, char **error_r)
{
    for (guint i = 0; i < all->pieces->len; i++) {
        const struct piece *other = g_ptr_array_index(all->pieces, i);
        if (strcmp(other->name, name) == 0 || cvd_head_is_same(other->name, name)) {
            return text_fail(error_r, -EEXIST,
                             "%s: comes from two sources (update_databases, update_urls, "
                             "update_directories); take it from one",
                             shown);
        }
    }
    return 0;
}

/* Adds DIR/NAME. ORIGIN is the path of a file of this machine, or where it was fetched from. */
static int
piece_add(struct collection *all, int dir, const char *name, const char *origin, char **error_r)
{
    g_autofree char *shown = text_escape(*origin == '/' ? origin : name, 1000);
    guint64 left = all->settings->update_size - all->bytes;
    int rc = check_twins(all, name, shown, error_r);
    if (rc < 0) {
        return rc;
    }
    if (signature_files_refusal(name) != NULL) {
        return text_fail(error_r, -EPERM, "%s: %s", shown, signature_files_refusal(name));
    }
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return text_fail(error_r, -errno, "%s: %s", shown, g_strerror(errno));
    }
    struct piece *piece = g_new0(struct piece, 1);
    piece->name = g_strdup(name);
    piece->origin = g_strdup(origin);
    piece->fd = fd;
    gint64 size = signature_files_sum(fd, left, piece->sha256);
    rc = size > 0 ? cld_members_check(fd, name, shown, error_r) : 0;
    if (rc == 0 && size > 0 && lseek(fd, 0, SEEK_SET) == 0) {
        g_ptr_array_add(all->pieces, piece);
        all->bytes += (guint64)size;
        return 0;
    }
    piece_free(piece);
    if (rc < 0) {
        return rc;
    }
    return size >= 0 ? text_fail(error_r, -ENODATA, "%s: is empty", shown)
           : size == -EFBIG
               ? text_fail(error_r, -EFBIG, "%s: with it the set is larger than update_size", shown)
               : text_fail(error_r, (int)size, "%s: %s", shown, g_strerror((int)-size));
}

/* Only what is official holds everything back: a set without daily would look new and find less
 * than the old one. */
static int
add_source(struct collection *all, const struct source *source, char **error_r)
{
    g_autofree char *path = source_dir(all->settings, source->name);
    g_autofree char *origin = source_origin(source, all->settings);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = 0;
    for (char **file = source->files; *file != NULL && rc == 0; file++) {
        g_autofree char *name = dir < 0 ? NULL : source_file(source, dir, *file);
        g_autofree char *error = NULL;
        if (name != NULL) {
            rc = piece_add(all, dir, name, origin, &error);
        } else if (source->url == NULL) {
            rc = text_fail(&error, -ENOENT,
                           "%s: has never been fetched; nothing is offered "
                           "without it",
                           *file);
        }
        if (rc < 0 && source->url != NULL) {
            complain(all, origin, error);
            rc = 0;
        } else if (rc < 0) {
            *error_r = g_steal_pointer(&error);
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    return rc;
}

/* Takes from the last offer what came from the directory PATH, or only its file NAME. */
static void
add_last(struct collection *all, const char *path, const char *name)
{
    for (guint i = 0; all->have != NULL && i < all->have->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(all->have->files, i);
        g_autofree char *origin = g_build_filename(path, file->name, NULL);
        g_autofree char *ignored = NULL;
        if (strcmp(file->origin, origin) == 0 && (name == NULL || strcmp(file->name, name) == 0)) {
            (void)piece_add(all, all->last, file->name, file->origin, &ignored);
        }
    }
}

static void
add_directory(struct collection *all, const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GPtrArray) names = dir < 0 ? NULL : signature_files_all(dir);
    if (names == NULL) {
        complain(all, path, g_strerror(errno));
        add_last(all, path, NULL);
    }
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *origin = g_build_filename(path, name, NULL);
        g_autofree char *error = NULL;
        int rc = signature_files_is_name(name) ? piece_add(all, dir, name, origin, &error) : 0;
        if (rc < 0) {
            complain(all, path, error);
        }
        if (rc < 0 && rc != -EEXIST) {
            add_last(all, path, name);
        }
    }
    if (dir >= 0) {
        close(dir);
    }
}

static int
collect(struct collection *all, char **error_r)
{
    g_autoptr(GPtrArray) sources = sources_of(all->settings);
    int rc = 0;
    for (guint i = 0; i < sources->len && rc == 0; i++) {
        rc = add_source(all, g_ptr_array_index(sources, i), error_r);
    }
    for (char **path = all->settings->update_directories; *path != NULL && rc == 0; path++) {
        add_directory(all, *path);
    }
    return rc == 0 && all->pieces->len == 0
               ? text_fail(error_r, -ENOENT,
                           "%s: nothing is configured to be fetched, or nothing came yet",
                           all->settings->update_dir)
               : rc;
}

/* Whether the last offer has these files, so that nothing is copied each hour for nothing. */
static gboolean
is_same(const struct collection *all, struct offer *ret)
{
    gboolean same = all->have != NULL && all->have->files->len == all->pieces->len;
    for (guint i = 0; same && i < all->pieces->len; i++) {
        const struct piece *piece = g_ptr_array_index(all->pieces, i);
        const struct manifest_file *file = manifest_find(all->have, piece->name);
        same = file != NULL && strcmp(file->sha256, piece->sha256) == 0 &&
               faccessat(all->last, piece->name, R_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (same) {
        g_strlcpy(ret->name, all->have->identity, sizeof ret->name);
    }
    return same;
}

static int
publish(int base, const struct collection *all, struct offer *ret, char **error_r)
{
    g_autoptr(draft_t) draft = NULL;
    const struct settings *settings = all->settings;
    int rc = space_check(base, settings->update_dir, all->bytes, error_r);
    rc = rc < 0 ? rc : draft_begin(base, settings->update_size, &draft, error_r);
    for (guint i = 0; i < all->pieces->len && rc == 0; i++) {
        const struct piece *piece = g_ptr_array_index(all->pieces, i);
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
    g_autofree char *ignored = NULL;
    g_autoptr(GPtrArray) pieces = g_ptr_array_new_with_free_func(piece_free);
    *ret = (struct offer){.problems = g_ptr_array_new_with_free_func(problem_free)};
    int base = open(settings->update_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) {
        return text_fail(error_r, -errno, "%s: %s", settings->update_dir, g_strerror(errno));
    }
    struct collection all = {
        .settings = settings,
        .pieces = pieces,
        .problems = ret->problems,
        .last = openat(base, OFFER_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
    if (all.last >= 0) {
        (void)manifest_read(all.last, &all.have, &ignored);
    }
    int rc = collect(&all, error_r);
    if (rc == 0 && !is_same(&all, ret)) {
        rc = publish(base, &all, ret, error_r);
    }
    if (all.last >= 0) {
        close(all.last);
    }
    manifest_free(all.have);
    close(base);
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "generation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "signature-files.h"
#include "store.h"

#define CURRENT "current"

/* A name that stays inside the directory and reads well in a log. */
static bool
is_name(const char *name)
{
    if (*name == '\0' || *name == '.' || strlen(name) > 100) {
        return false;
    }
    for (const char *p = name; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr("._-+:", *p) == NULL) {
            return false;
        }
    }
    return true;
}

int
generation_resolve(const char *signatures_dir, struct generation *ret, char **error_r)
{
    g_autofree char *link = g_build_filename(signatures_dir, CURRENT, NULL);
    g_autoptr(GError) error = NULL;
    struct stat st;
    *ret = (struct generation){0};
    if (lstat(link, &st) < 0) {
        if (errno == ENOENT) {
            return 0;
        }
        int rc = -errno;
        *error_r = g_strdup_printf("%s: %s", link, g_strerror(-rc));
        return rc;
    }
    g_autofree char *target = g_file_read_link(link, &error);
    if (target == NULL) {
        *error_r = g_strdup_printf("%s: must be a symbolic link to a signature directory", link);
        return -EINVAL;
    }
    /* postern-update links relatively; an absolute link to a sibling is as good. */
    g_autofree char *parent = g_path_get_dirname(target);
    g_autofree char *name = g_path_get_basename(target);
    bool inside = strcmp(parent, ".") == 0 || strcmp(parent, signatures_dir) == 0;
    g_autofree char *path = g_build_filename(signatures_dir, name, NULL);
    if (!inside || !is_name(name)) {
        *error_r = g_strdup_printf("%s: must lead to a directory in %s", link, signatures_dir);
        return -EINVAL;
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        *error_r = g_strdup_printf("%s: leads to %s, which is no directory", link, path);
        return -ENOTDIR;
    }
    ret->name = g_steal_pointer(&name);
    ret->path = g_steal_pointer(&path);
    return 0;
}

void
generation_clear(struct generation *generation)
{
    g_clear_pointer(&generation->name, g_free);
    g_clear_pointer(&generation->path, g_free);
}

/* Whether signatures lie in the directory NAME below DIRFD, whoever made it: 0, 1 or -errno. */
static int
holds_signatures(int dirfd, const char *name)
{
    int dir = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0) {
        /* No directory, or one of which nothing could be loaded, as lost+found. */
        return errno == ENOTDIR || errno == ELOOP || errno == EACCES || errno == ENOENT ? 0
                                                                                        : -errno;
    }
    g_autoptr(GPtrArray) files = signature_files_all(dir);
    int rc = files == NULL ? -errno : 0;
    for (guint i = 0; files != NULL && i < files->len && rc == 0; i++) {
        rc = signature_files_is_name(g_ptr_array_index(files, i)) ? 1 : 0;
    }
    close(dir);
    return rc;
}

/* The same of all directories below SIGNATURES_DIR that are not called as a store would. */
static int
holds_made_by_hand(const char *signatures_dir)
{
    int dir = open(signatures_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return -errno;
    }
    g_autoptr(GPtrArray) names = signature_files_all(dir);
    int rc = names == NULL ? -errno : 0;
    for (guint i = 0; names != NULL && i < names->len && rc == 0; i++) {
        const char *name = g_ptr_array_index(names, i);
        rc = is_name(name) && !store_is_name(name) ? holds_signatures(dir, name) : 0;
    }
    close(dir);
    return rc;
}

char *
generation_missing(const char *signatures_dir, bool had)
{
    g_autofree char *error = NULL;
    g_autoptr(store_t) store = NULL;
    int rc = store_open(signatures_dir, FALSE, &store, &error);
    if (rc == -ENOENT) {
        return g_strdup_printf("%s does not exist: mount its file system, or make the directory "
                               "for the user of postern-engine",
                               signatures_dir);
    }
    if (rc < 0) {
        return g_steal_pointer(&error);
    }
    g_autoptr(GPtrArray) list = store_list(store);
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        bool is_rejected = entry->record.state == RECORD_REJECTED;
        bool is_there = entry->manifest != NULL || entry->damage != NULL;
        if (is_there && !is_rejected) {
            return g_strdup_printf("%s/" CURRENT " is missing although signatures are there: "
                                   "`postern signatures adopt` uses one that `list` shows",
                                   signatures_dir);
        }
        had = had || entry->record.adopted > 0 || entry->record.state == RECORD_TRIED;
    }
    /* What cannot be read to its end may hold them. */
    rc = holds_made_by_hand(signatures_dir);
    if (rc < 0) {
        return g_strdup_printf("%s: cannot be read: %s", signatures_dir, g_strerror(-rc));
    }
    if (rc > 0) {
        return g_strdup_printf("%s/" CURRENT " is missing although signatures are there: make it a "
                               "symbolic link to the directory that is to be used",
                               signatures_dir);
    }
    return had ? g_strdup_printf("%s/" CURRENT " is missing, as are the signatures that were in "
                                 "use: mount their file system, or get others by `postern "
                                 "signatures update`",
                                 signatures_dir)
               : NULL;
}

int
generation_check(const char *path, char **error_r)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *why = NULL;
    g_autoptr(store_t) store = NULL;
    if (!store_is_name(name)) {
        return 0;
    }
    int rc = store_open(dir, FALSE, &store, &why);
    if (rc == 0) {
        rc = store_verify(store, name, &why);
    }
    if (rc == -EBADMSG || rc == -ENOENT) {
        rc = -EBADMSG;
        *error_r = g_strdup_printf("damaged: %s", why);
    } else if (rc < 0) {
        *error_r = g_steal_pointer(&why);
    }
    return rc;
}

char *
generation_print(const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    int dir = store_is_name(name) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    g_autoptr(GPtrArray) names = dir < 0 ? NULL : signature_files_all(dir);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        struct stat st = {.st_size = -1};
        const char *file = g_ptr_array_index(names, i);
        (void)fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW);
        g_string_append_printf(text, "%s/%ju/%jd/%jd.%09ld\n", file, (uintmax_t)st.st_ino,
                               (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                               st.st_mtim.tv_nsec);
    }
    if (dir >= 0) {
        close(dir);
    }
    return text->len == 0 ? g_strdup("")
                          : g_compute_checksum_for_string(G_CHECKSUM_SHA256, text->str, -1);
}

/* ClamAV's own databases have versions; the daily one is what is meant by "the version". */
static void
note_database(struct generation_about *about)
{
    for (guint i = 0; i < about->manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(about->manifest->files, i);
        bool is_daily = g_str_has_prefix(file->name, "daily.");
        if (file->version > 0 && (is_daily || file->built > about->database_time)) {
            about->database = file->version;
            about->database_time = file->built;
        }
        if (file->version > 0 && is_daily) {
            return;
        }
    }
}

static gint64
newest_file(int dir)
{
    g_autoptr(GPtrArray) names = signature_files_all(dir);
    gint64 newest = 0;
    for (guint i = 0; names != NULL && i < names->len; i++) {
        struct stat st;
        const char *name = g_ptr_array_index(names, i);
        if (signature_files_is_name(name) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            newest = MAX(newest, (gint64)st.st_mtime);
        }
    }
    return newest;
}

void
generation_look(const char *path, struct generation_about *ret)
{
    g_autofree char *error = NULL;
    *ret = (struct generation_about){0};
    int dir = path == NULL ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return;
    }
    if (manifest_read(dir, &ret->manifest, &error) == 0) {
        ret->newest = manifest_time(ret->manifest);
        note_database(ret);
    } else {
        ret->newest = newest_file(dir);
    }
    close(dir);
}

void
generation_about_clear(struct generation_about *about)
{
    g_clear_pointer(&about->manifest, manifest_free);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "store-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draft.h"
#include "durable.h"
#include "signature-files.h"
#include "text.h"

#define PREFIX_SHORTEST 4

gboolean
store_is_name(const char *name)
{
    return strlen(name) == MANIFEST_NAME_DIGITS &&
           strspn(name, "0123456789abcdef") == MANIFEST_NAME_DIGITS;
}

static void
clear_leftovers(const struct store *store)
{
    g_autoptr(GPtrArray) names = signature_files_all(store->fd);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (g_str_has_prefix(name, DURABLE_TMP_PREFIX)) {
            draft_remove_dir(store->fd, name);
            (void)unlinkat(store->fd, name, 0);
        }
    }
}

/* Of the directory everybody could take one, for it is open to all: who has it open for reading can
 * keep new signatures away for ever. Returns a descriptor or -errno. */
static int
lock_open(int dirfd)
{
    struct stat st = {0};
    int fd =
        openat(dirfd, STORE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_nlink != 1)) {
        rc = -EPERM;
    }
    if (rc == 0) {
        rc = record_share(dirfd, fd);
    }
    if (rc == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        rc = -errno;
    }
    if (fd >= 0 && rc < 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

static int
lock(struct store *store, char **error_r)
{
    store->lock = lock_open(store->fd);
    return store->lock >= 0 ? 0
           : store->lock == -EWOULDBLOCK
               ? text_fail(error_r, -EBUSY, "%s: signatures are being changed by another process",
                           store->dir)
               : text_fail(error_r, store->lock, "%s/" STORE_LOCK ": %s", store->dir,
                           g_strerror(-store->lock));
}

int
store_open(const char *dir, gboolean change, struct store **ret, char **error_r)
{
    int rc = change ? durable_public_dir(dir) : 0;
    if (rc < 0) {
        return text_fail(error_r, rc, "%s: cannot be made: %s", dir, g_strerror(-rc));
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return text_fail(error_r, -errno, "%s: %s", dir, g_strerror(errno));
    }
    g_autoptr(store_t) store = g_new0(struct store, 1);
    store->dir = g_strdup(dir);
    store->fd = fd;
    store->lock = -1;
    if (change) {
        rc = lock(store, error_r);
        if (rc < 0) {
            return rc;
        }
        clear_leftovers(store);
    }
    *ret = g_steal_pointer(&store);
    return 0;
}

void
store_free(struct store *store)
{
    if (store != NULL) {
        if (store->lock >= 0) {
            close(store->lock);
        }
        close(store->fd);
        g_free(store->dir);
        g_free(store);
    }
}

void
store_entry_free(struct store_entry *entry)
{
    if (entry != NULL) {
        record_clear(&entry->record);
        manifest_free(entry->manifest);
        g_free(entry->damage);
        g_free(entry);
    }
}

static void
entry_destroy(void *p)
{
    store_entry_free(p);
}

char *
store_link(const struct store *store, const char *link)
{
    char target[4096];
    ssize_t n = readlinkat(store->fd, link, target, sizeof target - 1);
    if (n <= 0) {
        return NULL;
    }
    target[n] = '\0';
    return g_path_get_basename(target);
}

int
store_open_generation(const struct store *store, const char *name)
{
    int fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static void
entry_manifest(const struct store *store, struct store_entry *entry)
{
    int fd = store_open_generation(store, entry->name);
    if (fd == -ENOENT) {
        return;
    }
    if (fd < 0) {
        entry->damage = g_strdup(g_strerror(-fd));
        return;
    }
    if (manifest_read(fd, &entry->manifest, &entry->damage) == 0 &&
        !g_str_has_prefix(entry->manifest->identity, entry->name)) {
        g_clear_pointer(&entry->manifest, manifest_free);
        entry->damage = g_strdup("its manifest is that of another generation");
    }
    close(fd);
}

struct store_entry *
store_entry_of(const struct store *store, const char *name)
{
    g_autofree char *current = store_link(store, STORE_CURRENT);
    g_autofree char *pinned = store_link(store, STORE_PINNED);
    struct store_entry *entry = g_new0(struct store_entry, 1);
    g_strlcpy(entry->name, name, sizeof entry->name);
    int rc = record_read(store->fd, name, &entry->record);
    entry_manifest(store, entry);
    entry->is_current = g_strcmp0(current, name) == 0;
    entry->is_pinned = g_strcmp0(pinned, name) == 0;
    if (rc < 0 && entry->manifest != NULL) {
        /* Older installations have no records: what is in use was chosen by somebody. */
        entry->record.state = entry->is_current ? RECORD_ADOPTED : RECORD_FETCHED;
        entry->record.since = entry->manifest->created;
        entry->record.adopted = entry->is_current ? entry->manifest->created : 0;
        g_strlcpy(entry->record.identity, entry->manifest->identity, sizeof entry->record.identity);
    }
    return entry;
}

static gint64
moment_of(const struct store_entry *entry)
{
    return MAX(entry->record.adopted,
               entry->manifest != NULL ? entry->manifest->created : entry->record.since);
}

static int
newest_first(const void *a, const void *b)
{
    const struct store_entry *one = *(struct store_entry *const *)a;
    const struct store_entry *two = *(struct store_entry *const *)b;
    gint64 x = moment_of(one);
    gint64 y = moment_of(two);
    return x != y ? (x < y ? 1 : -1) : strcmp(one->name, two->name);
}

/* The names of directories, and those of records without one. */
static GPtrArray *
names_of(const struct store *store)
{
    g_autoptr(GPtrArray) names = signature_files_all(store->fd);
    int dir = openat(store->fd, RECORD_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    g_autoptr(GPtrArray) records = dir < 0 ? NULL : signature_files_all(dir);
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    if (dir >= 0) {
        close(dir);
    }
    for (guint i = 0; names != NULL && i < names->len; i++) {
        if (store_is_name(g_ptr_array_index(names, i))) {
            g_ptr_array_add(found, g_strdup(g_ptr_array_index(names, i)));
        }
    }
    for (guint i = 0; records != NULL && i < records->len; i++) {
        const char *file = g_ptr_array_index(records, i);
        g_autofree char *name = g_strndup(file, strcspn(file, "."));
        if (store_is_name(name) && g_str_has_suffix(file, ".json") &&
            !g_ptr_array_find_with_equal_func(found, name, g_str_equal, NULL)) {
            g_ptr_array_add(found, g_steal_pointer(&name));
        }
    }
    return found;
}

GPtrArray *
store_list(const struct store *store)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(entry_destroy);
    g_autoptr(GPtrArray) names = names_of(store);
    for (guint i = 0; i < names->len; i++) {
        g_ptr_array_add(list, store_entry_of(store, g_ptr_array_index(names, i)));
    }
    g_ptr_array_sort(list, newest_first);
    return list;
}

static gboolean
is_meant(const struct store_entry *entry, const char *prefix)
{
    if (strcmp(prefix, STORE_CURRENT) == 0) {
        return entry->is_current;
    }
    if (strcmp(prefix, STORE_PINNED) == 0) {
        return entry->is_pinned;
    }
    return strlen(prefix) >= PREFIX_SHORTEST && g_str_has_prefix(entry->name, prefix);
}

/* In LIST, newest adoption first. */
static struct store_entry *
previous_of(GPtrArray *list)
{
    struct store_entry *found = NULL;
    for (guint i = 0; i < list->len; i++) {
        struct store_entry *entry = g_ptr_array_index(list, i);
        if (!entry->is_current && entry->manifest != NULL &&
            entry->record.state == RECORD_ADOPTED &&
            (found == NULL || entry->record.adopted > found->record.adopted)) {
            found = entry;
        }
    }
    return found;
}

static int
not_found(const char *prefix, char **error_r)
{
    static const struct {
        const char *word;
        const char *text;
    } words[] = {
        {STORE_CURRENT, "no generation is in use"},
        {STORE_PINNED, "no generation is pinned"},
        {STORE_PREVIOUS, "no other generation that was in use is still here"},
    };
    g_autofree char *shown = text_escape(prefix, 64);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(prefix, words[i].word) == 0) {
            return text_fail(error_r, -ENOENT, "%s; see `postern signatures list`", words[i].text);
        }
    }
    return strlen(prefix) < PREFIX_SHORTEST
               ? text_fail(error_r, -EINVAL, "%s: of a generation's name at least %d digits count",
                           shown, PREFIX_SHORTEST)
               : text_fail(error_r, -ENOENT,
                           "%s: there is no such generation; see `postern signatures list`", shown);
}

struct store_entry *
store_find(const struct store *store, const char *prefix, char **error_r)
{
    g_autoptr(GPtrArray) list = store_list(store);
    g_autofree char *shown = text_escape(prefix, 64);
    struct store_entry *found = strcmp(prefix, STORE_PREVIOUS) == 0 ? previous_of(list) : NULL;
    for (guint i = 0; i < list->len; i++) {
        struct store_entry *entry = g_ptr_array_index(list, i);
        if (is_meant(entry, prefix)) {
            if (found != NULL) {
                text_fail(error_r, -EINVAL, "%s: more than one generation begins so", shown);
                return NULL;
            }
            found = entry;
        }
    }
    if (found == NULL) {
        (void)not_found(prefix, error_r);
        return NULL;
    }
    return store_entry_of(store, found->name);
}

/* Returns 0, -EBADMSG or -errno. */
static int
verify_file(int dir, const struct manifest_file *file)
{
    char sum[65] = "";
    int fd = openat(dir, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    gint64 size = signature_files_sum(fd, file->size, sum);
    close(fd);
    if (size == -EFBIG || size == -EINVAL) {
        return -EBADMSG;
    }
    return size < 0                                                        ? (int)size
           : (guint64)size == file->size && strcmp(sum, file->sha256) == 0 ? 0
                                                                           : -EBADMSG;
}

/* What else lies there libclamav would load, too. Returns 0, -EBADMSG or another -errno. */
static int
verify_names(int dir, const char *name, const struct manifest *manifest, char **error_r)
{
    g_autoptr(GPtrArray) names = signature_files_all(dir);
    if (names == NULL) {
        return text_fail(error_r, -errno, "%s: %s", name, g_strerror(errno));
    }
    for (guint i = 0; i < names->len; i++) {
        const char *file = g_ptr_array_index(names, i);
        gboolean is_known = !signature_files_is_loaded(file);
        for (guint k = 0; k < manifest->files->len && !is_known; k++) {
            const struct manifest_file *known = g_ptr_array_index(manifest->files, k);
            is_known = strcmp(known->name, file) == 0;
        }
        if (!is_known) {
            g_autofree char *shown = text_escape(file, 100);
            return text_fail(error_r, -EBADMSG, "%s/%s: is not in its manifest", name, shown);
        }
    }
    return 0;
}

/* Why there is no manifest: -EBADMSG, or what keeps it from being read. */
static int
no_manifest(const struct store *store, const struct store_entry *entry, char **error_r)
{
    g_autoptr(manifest_t) manifest = NULL;
    g_autofree char *ignored = NULL;
    int dir = store_open_generation(store, entry->name);
    int rc = dir < 0 ? dir : manifest_read(dir, &manifest, &ignored);
    if (dir >= 0) {
        close(dir);
    }
    return text_fail(error_r, rc == 0 || rc == -ENOENT ? -EBADMSG : rc, "%s: %s", entry->name,
                     entry->damage != NULL ? entry->damage : "its files are gone");
}

int
store_verify(const struct store *store, const char *name, char **error_r)
{
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    if (entry->manifest == NULL) {
        return no_manifest(store, entry, error_r);
    }
    int dir = store_open_generation(store, name);
    int rc = dir < 0 ? dir : verify_names(dir, name, entry->manifest, error_r);
    for (guint i = 0; rc == 0 && i < entry->manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(entry->manifest->files, i);
        rc = verify_file(dir, file);
        if (rc < 0) {
            text_fail(error_r, rc, "%s/%s: %s", name, file->name,
                      rc == -EBADMSG ? "is not what its manifest says" : g_strerror(-rc));
        }
    }
    if (dir < 0) {
        return text_fail(error_r, rc, "%s: %s", name, g_strerror(-rc));
    }
    close(dir);
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "fetched.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "draft.h"
#include "durable.h"
#include "node-state.h"
#include "space.h"
#include "store.h"
#include "text.h"
#include "update-files.h"

#define MANIFEST_MAX (1024 * 1024)
#define MANIFEST_SECONDS 60

struct fetched {
    const struct settings *settings;
    struct caller *caller;
    const struct peer_node *node;
    const char *name;
    int base;        /* share_dir */
    gint64 deadline; /* monotonic: for all of it */
    struct manifest *manifest;
    struct store *store; /* NULL: nothing is here yet */
};

gboolean
fetched_is_here(const struct settings *settings, const char *name)
{
    g_autofree char *ignored = NULL;
    g_autoptr(store_t) store = NULL;
    g_autoptr(store_entry_t) entry = NULL;
    if (store_open(settings->signatures_dir, FALSE, &store, &ignored) == 0) {
        entry = store_find(store, name, &ignored);
    }
    if (entry != NULL && (entry->manifest != NULL || entry->record.state == RECORD_REJECTED)) {
        return TRUE;
    }
    g_autofree char *received = node_state_received(settings);
    return g_strcmp0(received, name) == 0;
}

/* What was sent is on the disk only for manifest_read(), which looks at it. */
static int
manifest_keep(struct fetched *fetched, const char *text, char **error_r)
{
    g_autofree char *why = NULL;
    (void)unlinkat(fetched->base, MANIFEST_NAME, 0);
    int fd = openat(fetched->base, MANIFEST_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : durable_write_all(fd, text, strlen(text));
    if (fd >= 0) {
        close(fd);
    }
    if (rc == 0) {
        rc = manifest_read(fetched->base, &fetched->manifest, &why);
    }
    (void)unlinkat(fetched->base, MANIFEST_NAME, 0);
    if (rc < 0) {
        return text_fail(error_r, rc, "%s of %s: %s", fetched->name, fetched->node->name,
                         why != NULL ? why : g_strerror(-rc));
    }
    return g_str_has_prefix(fetched->manifest->identity, fetched->name)
               ? 0
               : text_fail(error_r, -EBADMSG, "%s sends another generation than %s",
                           fetched->node->name, fetched->name);
}

static int
manifest_bring(struct fetched *fetched, char **error_r)
{
    char digest[65];
    g_autofree char *text = NULL;
    g_autofree char *path = g_strdup_printf("/1/%s/" MANIFEST_NAME, fetched->name);
    const struct call call = {.method = "GET",
                              .path = path,
                              .limit = MANIFEST_MAX,
                              .seconds = MANIFEST_SECONDS,
                              .fd = -1};
    int rc = caller_call(fetched->caller, fetched->node, &call, digest, &text, error_r);
    if (rc < 0) {
        return rc;
    }
    return rc == 200 ? manifest_keep(fetched, text, error_r)
                     : text_fail(error_r, -ENOENT, "%s does not have %s any more",
                                 fetched->node->name, fetched->name);
}

/* A node that was away, and is active now, may have an old set. MANIFEST: as it was sent, or, when
 * all is here, of what is in the files. */
static int
check_age(const struct fetched *fetched, const struct manifest *manifest, char **error_r)
{
    g_autofree char *ignored = NULL;
    g_autoptr(store_entry_t) current =
        fetched->store == NULL ? NULL : store_find(fetched->store, "current", &ignored);
    if (current == NULL || current->manifest == NULL) {
        return 0;
    }
    guint version = 0;
    const struct manifest_file *older = manifest_older(manifest, current->manifest, &version);
    if (older == NULL) {
        return 0;
    }
    g_autofree char *shown = text_escape(older->name, 100);
    return text_fail(error_r, -ESTALE,
                     "%s gives %s of version %u, older than the %u that is in use here",
                     fetched->node->name, shown, older->version, version);
}

/* Beside it the largest file is there twice while it comes. */
static int
check_size(const struct fetched *fetched, char **error_r)
{
    guint64 bytes = 0;
    guint64 largest = 0;
    if (space_check_size(fetched->manifest, fetched->settings->update_size, &bytes) < 0) {
        return text_fail(error_r, -EFBIG, "%s of %s is larger than update_size", fetched->name,
                         fetched->node->name);
    }
    for (guint i = 0; i < fetched->manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(fetched->manifest->files, i);
        largest = MAX(largest, file->size);
    }
    return space_check(fetched->base, fetched->settings->share_dir, bytes + largest, error_r);
}

/* A descriptor of a file here that is said to have the same content; -1: there is none. */
static int
open_own(const struct fetched *fetched, const struct manifest_file *file)
{
    g_autoptr(GPtrArray) list = fetched->store == NULL ? NULL : store_list(fetched->store);
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        for (guint j = 0; entry->manifest != NULL && j < entry->manifest->files->len; j++) {
            const struct manifest_file *own = g_ptr_array_index(entry->manifest->files, j);
            if (own->size == file->size && strcmp(own->sha256, file->sha256) == 0) {
                g_autofree char *path = g_build_filename(fetched->settings->signatures_dir,
                                                         entry->name, own->name, NULL);
                return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
            }
        }
    }
    return -1;
}

/* Into FD. */
static int
file_bring(const struct fetched *fetched, const struct manifest_file *file, int fd, char **error_r)
{
    char digest[65];
    g_autofree char *path = g_strdup_printf("/1/%s/%s", fetched->name, file->name);
    g_autofree char *shown = text_escape(file->name, 100);
    gint64 left = (fetched->deadline - g_get_monotonic_time()) / G_USEC_PER_SEC;
    const struct call call = {.method = "GET",
                              .path = path,
                              .limit = file->size,
                              .seconds = (guint64)MAX(left, 1),
                              .fd = fd};
    if (left <= 0) {
        return text_fail(error_r, -ETIMEDOUT, "%s of %s did not come within update_timeout",
                         fetched->name, fetched->node->name);
    }
    int rc = caller_call(fetched->caller, fetched->node, &call, digest, NULL, error_r);
    if (rc < 0) {
        return rc;
    }
    if (rc != 200) {
        return text_fail(error_r, -ENOENT, "%s does not have %s of %s any more",
                         fetched->node->name, shown, fetched->name);
    }
    if (strcmp(digest, file->sha256) != 0) {
        return text_fail(error_r, -EBADMSG, "%s sends another %s than its manifest says",
                         fetched->node->name, shown);
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int
file_take(const struct fetched *fetched, struct draft *draft, const struct manifest_file *file,
          char **error_r)
{
    int fd = open_own(fetched, file);
    int rc = fd < 0 ? -ENOENT : draft_add(draft, file->name, fd, file->origin, file, error_r);
    if (fd >= 0) {
        close(fd);
    }
    if (rc == 0) {
        return 0;
    }
    g_clear_pointer(error_r, g_free);
    fd = openat(fetched->base, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        return text_fail(error_r, -errno, "%s: %s", fetched->settings->share_dir,
                         g_strerror(errno));
    }
    rc = file_bring(fetched, file, fd, error_r);
    if (rc == 0) {
        rc = draft_add(draft, file->name, fd, file->origin, file, error_r);
    }
    close(fd);
    return rc;
}

static int
files_take(const struct fetched *fetched, char **error_r)
{
    g_autoptr(draft_t) draft = NULL;
    int rc = draft_begin(fetched->base, fetched->settings->update_size, &draft, error_r);
    for (guint i = 0; i < fetched->manifest->files->len && rc == 0; i++) {
        rc = file_take(fetched, draft, g_ptr_array_index(fetched->manifest->files, i), error_r);
    }
    if (rc == 0 && strcmp(draft_manifest(draft)->identity, fetched->manifest->identity) != 0) {
        rc = text_fail(error_r, -EBADMSG, "%s sends another generation than %s",
                       fetched->node->name, fetched->name);
    }
    rc = rc < 0 ? rc : check_age(fetched, draft_manifest(draft), error_r);
    return rc < 0 ? rc : draft_finish(draft, OFFER_DIR, NULL, error_r);
}

int
fetched_bring(const struct settings *settings, struct caller *caller, const struct peer_node *node,
              const char *name, char **error_r)
{
    g_autofree char *ignored = NULL;
    struct fetched fetched = {
        .settings = settings,
        .caller = caller,
        .node = node,
        .name = name,
        .deadline = g_get_monotonic_time() + (gint64)settings->update_timeout * G_USEC_PER_SEC,
        .base = open(settings->share_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    };
    if (fetched.base < 0) {
        return text_fail(error_r, -errno, "%s: %s", settings->share_dir, g_strerror(errno));
    }
    (void)store_open(settings->signatures_dir, FALSE, &fetched.store, &ignored);
    int rc = manifest_bring(&fetched, error_r);
    rc = rc < 0 ? rc : check_age(&fetched, fetched.manifest, error_r);
    rc = rc < 0 ? rc : check_size(&fetched, error_r);
    rc = rc < 0 ? rc : files_take(&fetched, error_r);
    manifest_free(fetched.manifest);
    store_free(fetched.store);
    close(fetched.base);
    return rc;
}

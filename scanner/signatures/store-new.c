/* SPDX-License-Identifier: GPL-2.0-only */
/* New generations of a store: what an administrator names, what postern-update or a node offers. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draft.h"
#include "signature-files.h"
#include "space.h"
#include "store-inner.h"
#include "text.h"

/* Records the finished DRAFT, unless it was known. */
static int
finish(struct store *store, struct draft *draft, struct store_new *ret, char **error_r)
{
    const struct manifest *manifest = draft_manifest(draft);
    ret->files = manifest->files->len;
    ret->bytes = manifest_bytes(manifest);
    g_strlcpy(ret->name, manifest->identity, sizeof ret->name);
    int rc = draft_finish(draft, NULL, &ret->existed, error_r);
    if (rc < 0) {
        return rc;
    }
    struct record record;
    int known = record_read(store->fd, ret->name, &record);
    record_clear(&record);
    if (known == 0) {
        return 0;
    }
    g_autoptr(store_entry_t) entry = store_entry_of(store, ret->name);
    return store_record(store, entry, entry->record.state, NULL, error_r);
}

static int
add_file(struct draft *draft, const struct signature_file *file, char **error_r)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int rc = -errno;
        g_autofree char *shown = text_escape(file->path, 1000);
        return text_fail(error_r, rc, "%s: %s", shown, g_strerror(-rc));
    }
    int rc = draft_add(draft, file->name, fd, file->path, NULL, error_r);
    close(fd);
    return rc;
}

int
store_add(struct store *store, char *const paths[], struct store_new *ret, char **error_r)
{
    g_autoptr(draft_t) draft = NULL;
    *ret = (struct store_new){.files = 0};
    g_autoptr(GPtrArray) files = signature_files_find(paths, error_r);
    if (files == NULL) {
        return -EINVAL;
    }
    int rc = draft_begin(store->fd, G_MAXUINT64, &draft, error_r);
    for (guint i = 0; i < files->len && rc == 0; i++) {
        rc = add_file(draft, g_ptr_array_index(files, i), error_r);
    }
    return rc < 0 ? rc : finish(store, draft, ret, error_r);
}

/*
 * A hard link to somebody else's file would publish that, a symbolic one too: only files of the
 * offer's own owner are read.
 */
static int
take_file(struct draft *draft, int offer, uid_t owner, const struct manifest_file *file,
          char **error_r)
{
    struct stat st;
    g_autofree char *shown = text_escape(file->name, 200);
    int fd = openat(offer, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int rc = errno == ENOENT ? -ESTALE : -errno;
        return text_fail(error_r, rc, "%s: %s", shown, g_strerror(-rc));
    }
    int rc = fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_uid != owner)) {
        rc = -EBADMSG;
    }
    rc = rc < 0 ? text_fail(error_r, rc, "%s: is no file of the one who offers it", shown)
                : draft_add(draft, file->name, fd, file->origin, file, error_r);
    close(fd);
    return rc;
}

static int
check_known(struct store *store, const struct manifest *manifest, struct store_new *ret,
            char **error_r)
{
    g_strlcpy(ret->name, manifest->identity, sizeof ret->name);
    g_autoptr(store_entry_t) entry = store_entry_of(store, ret->name);
    ret->existed = entry->manifest != NULL;
    ret->files = manifest->files->len;
    ret->bytes = manifest_bytes(manifest);
    if (entry->record.state == RECORD_REJECTED) {
        g_autofree char *reason = text_escape(entry->record.reason, 300);
        return text_fail(error_r, -EALREADY, "%s was rejected before: %s", ret->name, reason);
    }
    return 0;
}

/* Reads MANIFEST and OWNER of OFFER. Returns 0 or -errno, with one sentence. */
static int
read_offer(int offer, struct manifest **manifest, uid_t *owner, char **error_r)
{
    struct stat st;
    g_autofree char *error = NULL;
    int rc = fstat(offer, &st) < 0 ? -errno : manifest_read(offer, manifest, &error);
    if (rc < 0) {
        return text_fail(error_r, rc, "the offer's %s", error != NULL ? error : g_strerror(-rc));
    }
    *owner = st.st_uid;
    return 0;
}

/* Copies the files of MANIFEST, of BYTES, into a new DRAFT. */
static int
copy_offer(struct store *store, int offer, uid_t owner, const struct manifest *manifest,
           guint64 bytes, guint64 limit, struct draft **draft, char **error_r)
{
    int rc = space_check(store->fd, store->dir, bytes, error_r);
    if (rc < 0) {
        return rc;
    }
    rc = draft_begin(store->fd, limit, draft, error_r);
    for (guint i = 0; i < manifest->files->len && rc == 0; i++) {
        rc = take_file(*draft, offer, owner, g_ptr_array_index(manifest->files, i), error_r);
    }
    return rc;
}

/* A mirror that is behind, or somebody in between who kept what was signed last year: where what
 * was fetched before is lost, postern-update cannot know. */
static int
check_age(const struct store *store, const struct manifest *manifest, char **error_r)
{
    guint version = 0;
    g_autofree char *current = store_link(store, STORE_CURRENT);
    g_autoptr(store_entry_t) entry = current != NULL ? store_entry_of(store, current) : NULL;
    const struct manifest_file *older = entry != NULL && entry->manifest != NULL
                                            ? manifest_older(manifest, entry->manifest, &version)
                                            : NULL;
    if (older == NULL) {
        return 0;
    }
    g_autofree char *shown = text_escape(older->name, 100);
    return text_fail(error_r, -EPERM,
                     "%s is of version %u, older than the %u that is in use; if it is meant so: "
                     "postern signatures add",
                     shown, older->version, version);
}

int
store_take(struct store *store, int offer, guint64 limit, struct store_new *ret, char **error_r)
{
    g_autoptr(manifest_t) manifest = NULL;
    g_autoptr(draft_t) draft = NULL;
    uid_t owner = 0;
    guint64 bytes = 0;
    *ret = (struct store_new){.files = 0};
    int rc = read_offer(offer, &manifest, &owner, error_r);
    if (rc < 0 || manifest == NULL) {
        return rc;
    }
    rc = check_known(store, manifest, ret, error_r);
    if (rc == 0 && space_check_size(manifest, limit, &bytes) < 0) {
        return text_fail(error_r, -EFBIG, "the offer is larger than update_size");
    }
    if (rc < 0 || ret->existed) {
        return rc;
    }
    rc = copy_offer(store, offer, owner, manifest, bytes, limit, &draft, error_r);
    rc = rc < 0 ? rc : check_age(store, draft_manifest(draft), error_r);
    return rc < 0 ? rc : finish(store, draft, ret, error_r);
}

/* Whether MANIFEST is that of a generation which was tried or in use and is damaged. Returns 0, or
 * as store_mend(). */
static int
check_damaged(const struct store *store, const char *name, const struct manifest *manifest,
              char **error_r)
{
    g_autofree char *why = NULL;
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    enum record_state state = entry->record.state;
    if ((state != RECORD_TRIED && state != RECORD_ADOPTED) ||
        strcmp(entry->record.identity, manifest->identity) != 0) {
        return text_fail(error_r, -ENOENT, "%s: was not tried here", name);
    }
    int rc = store_verify(store, name, &why);
    if (rc == 0) {
        return text_fail(error_r, -EEXIST, "%s: is whole", name);
    }
    return rc == -EBADMSG || rc == -ENOENT ? 0 : text_fail(error_r, rc, "%s", why);
}

int
store_mend(struct store *store, int offer, guint64 limit, char name[MANIFEST_NAME_DIGITS + 1],
           char **error_r)
{
    g_autoptr(manifest_t) manifest = NULL;
    g_autoptr(draft_t) draft = NULL;
    uid_t owner = 0;
    guint64 bytes = 0;
    int rc = read_offer(offer, &manifest, &owner, error_r);
    if (rc < 0 || manifest == NULL) {
        return rc;
    }
    g_strlcpy(name, manifest->identity, MANIFEST_NAME_DIGITS + 1);
    rc = check_damaged(store, name, manifest, error_r);
    if (rc == 0 && space_check_size(manifest, limit, &bytes) < 0) {
        return text_fail(error_r, -EFBIG, "the offer is larger than update_size");
    }
    if (rc == 0) {
        rc = copy_offer(store, offer, owner, manifest, bytes, limit, &draft, error_r);
    }
    if (rc == 0 && strcmp(draft_manifest(draft)->identity, manifest->identity) != 0) {
        rc = text_fail(error_r, -EBADMSG, "the offer is not what it says");
    }
    return rc < 0 ? rc : draft_finish(draft, name, NULL, error_r);
}

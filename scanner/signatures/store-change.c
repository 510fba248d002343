/* SPDX-License-Identifier: GPL-2.0-only */
/* Changes of a store: states, current, pinned, what is kept. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "draft.h"
#include "durable.h"
#include "store-inner.h"
#include "text.h"

#define TMP_LINK DURABLE_TMP_PREFIX "link"
#define TMP_GONE DURABLE_TMP_PREFIX "gone"
/* Records without files that are kept, so that they do not grow for ever. */
#define RECORDS_KEPT 1000

int
store_link_set(struct store *store, const char *link, const char *name)
{
    (void)unlinkat(store->fd, TMP_LINK, 0);
    return symlinkat(name, store->fd, TMP_LINK) < 0 ||
                   renameat(store->fd, TMP_LINK, store->fd, link) < 0 || fsync(store->fd) < 0
               ? -errno
               : 0;
}

int
store_record(struct store *store, struct store_entry *entry, enum record_state state,
             const char *reason, char **error_r)
{
    struct record *record = &entry->record;
    g_autofree char *kept = g_strdup(reason);
    if (entry->manifest != NULL) {
        g_strlcpy(record->identity, entry->manifest->identity, sizeof record->identity);
    }
    /* An administrator gave it another chance, or the trial itself could not find anything out. */
    if (state == RECORD_FETCHED && record->state == RECORD_REJECTED) {
        record->trials = 0;
    }
    record->state = state;
    record->since = g_get_real_time() / G_USEC_PER_SEC;
    record->trials += state == RECORD_TRYING ? 1 : 0;
    g_free(record->reason);
    record->reason = g_steal_pointer(&kept);
    int rc = record_write(store->fd, entry->name, record);
    return rc < 0 ? text_fail(error_r, rc, "%s: its record cannot be written: %s", entry->name,
                              g_strerror(-rc))
                  : 0;
}

int
store_set(struct store *store, const char *name, enum record_state state, const char *reason,
          char **error_r)
{
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    if (entry->manifest == NULL && entry->record.identity[0] == '\0') {
        return text_fail(error_r, -ENOENT, "%s: there is no such generation", name);
    }
    if (state == RECORD_ADOPTED || !record_may_become(entry->record.state, state)) {
        return text_fail(error_r, -EINVAL, "%s: what is %s cannot become %s", name,
                         record_state_word(entry->record.state), record_state_word(state));
    }
    if (state == RECORD_REJECTED && entry->is_current) {
        return text_fail(error_r, -EBUSY, "%s is in use; adopt another one or roll back first",
                         name);
    }
    if (state == RECORD_REJECTED && entry->is_pinned) {
        return text_fail(error_r, -EBUSY, "%s is pinned; unpin it first", name);
    }
    if (state == RECORD_FETCHED && entry->record.state == RECORD_TRYING) {
        entry->record.trials -= MIN(entry->record.trials, 1);
    }
    return store_record(store, entry, state, reason, error_r);
}

int
store_tried(struct store *store, const char *name, const struct record_trial *measured,
            char **error_r)
{
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    if (entry->manifest == NULL || entry->record.state != RECORD_TRYING) {
        return text_fail(error_r, -EINVAL, "%s is not being tried any more", name);
    }
    entry->record.trial = *measured;
    return store_record(store, entry, RECORD_TRIED, NULL, error_r);
}

/* Whether ENTRY was put together after what is in use, CURRENT (NULL: nothing). */
static gboolean
is_newer(const struct store_entry *entry, const struct store_entry *current)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    return entry->manifest != NULL &&
           (current == NULL || current->manifest == NULL || current->manifest->created > now ||
            entry->manifest->created >= current->manifest->created);
}

static const struct store_entry *
current_of(GPtrArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->is_current) {
            return entry;
        }
    }
    return NULL;
}

struct store_entry *
store_candidate(const struct store *store)
{
    g_autofree char *pinned = store_link(store, STORE_PINNED);
    g_autoptr(GPtrArray) list = store_list(store);
    const struct store_entry *current = current_of(list);
    const struct store_entry *found = NULL;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->record.state == RECORD_FETCHED && !entry->is_current &&
            is_newer(entry, current) && (pinned == NULL || entry->is_pinned) &&
            (found == NULL || entry->manifest->created > found->manifest->created)) {
            found = entry;
        }
    }
    return found == NULL ? NULL : store_entry_of(store, found->name);
}

/* Why NAME is not adopted by itself; NULL: it may be. */
static char *
why_not(const struct store *store, const struct store_entry *entry)
{
    g_autofree char *pinned = store_link(store, STORE_PINNED);
    if (pinned != NULL && strcmp(pinned, entry->name) != 0) {
        return g_strdup_printf("%s is pinned", pinned);
    }
    if (entry->record.state == RECORD_REJECTED) {
        return g_strdup_printf("it was rejected%s%s", entry->record.reason != NULL ? ": " : "",
                               entry->record.reason != NULL ? entry->record.reason : "");
    }
    return entry->record.state == RECORD_TRIED || entry->record.state == RECORD_ADOPTED
               ? NULL
               : g_strdup("it was not tried");
}

/* The link first: it is the truth, and store_recover() mends the record. */
static int
make_current(struct store *store, struct store_entry *entry, gint64 adopted, char **error_r)
{
    int rc = store_link_set(store, STORE_CURRENT, entry->name);
    if (rc < 0) {
        return text_fail(error_r, rc, "%s/" STORE_CURRENT ": cannot be set: %s", store->dir,
                         g_strerror(-rc));
    }
    entry->record.adopted = adopted;
    return store_record(store, entry, RECORD_ADOPTED, NULL, error_r);
}

int
store_return(struct store *store, const char *name, char **error_r)
{
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    if (entry->manifest == NULL) {
        return text_fail(error_r, -ENOENT, "%s: its files are gone", name);
    }
    if (entry->record.state == RECORD_REJECTED) {
        return text_fail(error_r, -ENOENT, "%s: was rejected", name);
    }
    return make_current(store, entry, MAX(entry->record.adopted, entry->manifest->created),
                        error_r);
}

int
store_adopt(struct store *store, const char *name, gboolean force, char **error_r)
{
    g_autoptr(store_entry_t) entry = store_entry_of(store, name);
    if (entry->manifest == NULL) {
        return text_fail(error_r, -ENOENT, "%s: %s", name,
                         entry->damage != NULL ? entry->damage : "its files are gone");
    }
    g_autofree char *reason = force ? NULL : why_not(store, entry);
    if (reason != NULL) {
        return text_fail(error_r, -EPERM, "%s is not adopted: %s", name, reason);
    }
    return make_current(store, entry, g_get_real_time() / G_USEC_PER_SEC, error_r);
}

int
store_pin(struct store *store, const char *name, char **error_r)
{
    int rc = 0;
    if (name != NULL) {
        g_autoptr(store_entry_t) entry = store_entry_of(store, name);
        if (entry->manifest == NULL || entry->record.state == RECORD_REJECTED) {
            return text_fail(error_r, -EPERM, "%s cannot be pinned: %s", name,
                             entry->manifest == NULL ? "its files are gone" : "it is rejected");
        }
        rc = store_link_set(store, STORE_PINNED, name);
    } else if (unlinkat(store->fd, STORE_PINNED, 0) < 0 && errno != ENOENT) {
        rc = -errno;
    } else {
        rc = fsync(store->fd) < 0 ? -errno : 0;
    }
    return rc < 0 ? text_fail(error_r, rc, "%s/" STORE_PINNED ": cannot be set: %s", store->dir,
                              g_strerror(-rc))
                  : 0;
}

static int
recover_one(struct store *store, struct store_entry *entry, char **error_r)
{
    if (entry->is_current && entry->record.state != RECORD_ADOPTED && entry->manifest != NULL) {
        entry->record.adopted = g_get_real_time() / G_USEC_PER_SEC;
        return store_record(store, entry, RECORD_ADOPTED, NULL, error_r);
    }
    if (entry->record.state != RECORD_TRYING) {
        return 0;
    }
    if (entry->record.trials < RECORD_TRIALS_MAX) {
        return store_record(store, entry, RECORD_FETCHED, "its trial was interrupted", error_r);
    }
    return store_record(store, entry, RECORD_REJECTED,
                        "its trial was interrupted each time: it may have cost the node", error_r);
}

int
store_recover(struct store *store, char **error_r)
{
    g_autoptr(GPtrArray) list = store_list(store);
    int rc = 0;
    for (guint i = 0; i < list->len && rc == 0; i++) {
        rc = recover_one(store, g_ptr_array_index(list, i), error_r);
    }
    return rc;
}

/* The newest of STATE that was put together after what is in use, CURRENT; NULL: there is none. */
static const struct store_entry *
newest_waiting(GPtrArray *list, enum record_state state, const struct store_entry *current)
{
    const struct store_entry *found = NULL;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->record.state == state && is_newer(entry, current) &&
            (found == NULL || entry->manifest->created > found->manifest->created)) {
            found = entry;
        }
    }
    return found;
}

/* What is never removed: of several that wait the others would not be tried, or adopted, any more.
 */
struct needed {
    const struct store_entry *fetched;
    const struct store_entry *tried;
    const char *previous;
};

static gboolean
is_needed(const struct store_entry *entry, const struct needed *needed)
{
    return entry->is_current || entry->is_pinned || entry->record.state == RECORD_TRYING ||
           entry == needed->fetched || entry == needed->tried ||
           g_strcmp0(needed->previous, entry->name) == 0;
}

/* The name goes at once, so that a half removed one is not taken for a generation. */
static int
remove_generation(struct store *store, const char *name)
{
    draft_remove_dir(store->fd, TMP_GONE);
    if (renameat(store->fd, name, store->fd, TMP_GONE) < 0) {
        return -errno;
    }
    draft_remove_dir(store->fd, TMP_GONE);
    return 0;
}

static void
forget_record(struct store *store, const char *name)
{
    g_autofree char *path = g_strconcat(RECORD_DIR "/", name, ".json", NULL);
    (void)unlinkat(store->fd, path, 0);
}

int
store_discard(struct store *store, const char *name, char **error_r)
{
    g_autofree char *current = store_link(store, STORE_CURRENT);
    int rc = g_strcmp0(current, name) == 0 ? -EBUSY : remove_generation(store, name);
    if (rc < 0 && rc != -ENOENT) {
        return text_fail(error_r, rc, "%s: cannot be removed: %s", name, g_strerror(-rc));
    }
    forget_record(store, name);
    return 0;
}

int
store_prune(struct store *store, guint keep, char **error_r)
{
    g_autofree char *none = NULL;
    g_autoptr(GPtrArray) list = store_list(store);
    g_autoptr(store_entry_t) previous = store_find(store, "previous", &none);
    const struct store_entry *current = current_of(list);
    const struct needed needed = {.fetched = newest_waiting(list, RECORD_FETCHED, current),
                                  .tried = newest_waiting(list, RECORD_TRIED, current),
                                  .previous = previous != NULL ? previous->name : NULL};
    guint kept = 0;
    guint records = 0;
    int removed = 0;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        gboolean is_there = entry->manifest != NULL || entry->damage != NULL;
        gboolean is_rejected = entry->record.state == RECORD_REJECTED;
        if (!is_there) {
            if (++records > RECORDS_KEPT) {
                forget_record(store, entry->name);
            }
            continue;
        }
        if (is_needed(entry, &needed) || (!is_rejected && kept < keep)) {
            kept++;
            continue;
        }
        int rc = remove_generation(store, entry->name);
        if (rc < 0) {
            return text_fail(error_r, rc, "%s: cannot be removed: %s", entry->name,
                             g_strerror(-rc));
        }
        removed++;
        if (!is_rejected) {
            forget_record(store, entry->name);
        }
    }
    return removed;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "retention.h"

#include <errno.h>
#include <unistd.h>

#include "catalog.h"
#include "copy.h"
#include "incident.h"
#include "log.h"
#include "note.h"

#define DAY 86400

/* What one transaction marks or removes, and the record that goes with it. */
struct batch {
    const GPtrArray *keys;
    const struct incident *record; /* NULL = none */
};

static int
batch_mark(struct state *state, void *data)
{
    const struct batch *batch = data;
    int rc = incident_add(state_db(state), batch->record);
    for (guint i = 0; i < batch->keys->len && rc == 0; i++) {
        rc = catalog_set_deleting(state_db(state), g_ptr_array_index(batch->keys, i));
    }
    return rc;
}

static int
batch_remove(struct state *state, void *data)
{
    const struct batch *batch = data;
    int rc = 0;
    for (guint i = 0; i < batch->keys->len && rc == 0; i++) {
        rc = catalog_remove(state_db(state), g_ptr_array_index(batch->keys, i));
    }
    return rc;
}

/* The message first: a note without a message is nothing, a message without it would be new. */
static int
files_remove(int dirfd, const GPtrArray *keys)
{
    int rc = 0;
    for (guint i = 0; i < keys->len && rc == 0; i++) {
        const char *key = g_ptr_array_index(keys, i);
        rc = copy_remove(dirfd, key);
        if (rc == 0) {
            rc = note_remove(dirfd, key);
        }
    }
    if (rc == 0 && fsync(dirfd) < 0) {
        rc = -errno;
    }
    return rc;
}

/* For rows that are marked. */
static int
marked_delete(struct state *state, const GPtrArray *keys)
{
    struct batch batch = {.keys = keys};
    int rc = files_remove(state_quarantine_fd(state), keys);
    return rc < 0 ? rc : state_write(state, batch_remove, &batch);
}

static int
keys_delete(struct state *state, const GPtrArray *keys, const struct incident *record)
{
    struct batch batch = {.keys = keys, .record = record};
    int rc = state_write(state, batch_mark, &batch);
    return rc < 0 ? rc : marked_delete(state, keys);
}

int
retention_delete(struct state *state, const char *prefix, gint64 uid, char **ret_key)
{
    struct catalog_found found;
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    int rc = catalog_find(state_db(state), prefix, &found);
    if (rc < 0) {
        return rc;
    }
    if (state_is_busy(state, found.key)) {
        return -EBUSY;
    }
    const struct incident record = {.kind = INCIDENT_DELETE, .key = found.key, .uid = uid};
    g_ptr_array_add(keys, found.key);
    rc = keys_delete(state, keys, &record);
    if (rc == 0) {
        state_settle(state);
        *ret_key = g_strdup(found.key);
    }
    return rc;
}

/* Deleting a large file takes its time: few are taken when they are large. */
static int
each_delete(struct state *state, const GPtrArray *keys)
{
    const gint64 end = g_get_monotonic_time() + RETENTION_STEP_US;
    int rc = 0;
    for (guint i = 0; i < keys->len && rc == 0 && (i == 0 || g_get_monotonic_time() < end); i++) {
        const char *key = g_ptr_array_index(keys, i);
        g_autoptr(GPtrArray) one = g_ptr_array_new();
        const struct incident record = {.kind = INCIDENT_EXPIRY,
                                        .key = key,
                                        .uid = INCIDENT_NOBODY,
                                        .detail = "older than quarantine_days"};
        g_ptr_array_add(one, (void *)(uintptr_t)key);
        rc = keys_delete(state, one, &record);
    }
    return rc;
}

int
retention_step(struct state *state, gint64 now, gboolean *ret_more)
{
    const gint64 days = (gint64)state_limits(state)->quarantine_days;
    g_autoptr(GPtrArray) keys = NULL;
    *ret_more = FALSE;
    if (days == 0) {
        return 0;
    }
    int rc = catalog_old_keys(state_db(state), now - days * DAY, RETENTION_STEP, &keys);
    if (rc < 0 || keys->len == 0) {
        return rc;
    }
    rc = each_delete(state, keys);
    *ret_more = rc == 0;
    state_settle(state);
    return rc;
}

int
retention_recover(struct state *state)
{
    int rc = 0;
    guint n = 0;
    do {
        g_autoptr(GPtrArray) keys = NULL;
        rc = catalog_open_keys(state_db(state), CATALOG_DELETING, 1000, &keys);
        n = rc == 0 ? keys->len : 0;
        if (n > 0) {
            log_notice("quarantine: %u deletion(s) that a crash had cut off are completed", n);
            rc = marked_delete(state, keys);
        }
    } while (rc == 0 && n > 0);
    return rc;
}

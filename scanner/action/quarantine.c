/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog.h"
#include "copy.h"

static int
compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* With its terminating 0: else "ab" + "c" and "a" + "bc" would be the same. */
static void
digest(GChecksum *sum, const char *text)
{
    g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}

char *
quarantine_key(const struct envelope *envelope, const char *body_hash)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(envelope->recipients, NULL, NULL);
    g_ptr_array_set_free_func(sorted, NULL);
    g_ptr_array_sort(sorted, compare_texts);
    digest(sum, body_hash);
    digest(sum, envelope->sender);
    for (guint i = 0; i < sorted->len; i++) {
        digest(sum, g_ptr_array_index(sorted, i));
    }
    return g_strdup(g_checksum_get_string(sum));
}

static int
write_copy(struct state *state, const struct quarantine_entry *entry,
           const struct catalog_entry *row)
{
    if (row->size > state_room(state) || state_is_full(state)) {
        return -ENOSPC;
    }
    json_t *facts = entry->facts == NULL ? json_null() : facts_to_json(entry->facts);
    json_t *meta = json_pack("{s:i, s:s, s:I, s:s, s:s, s:I, s:o, s:o}", "version", COPY_VERSION,
                             "key", row->key, "time", (json_int_t)row->time, "verdict",
                             row->verdict, "reason", row->reason, "size", (json_int_t)row->size,
                             "envelope", envelope_to_json(entry->envelope), "facts", facts);
    int rc =
        meta == NULL ? -EINVAL : copy_write(state_quarantine_fd(state), row->key, meta, entry->fd);
    json_decref(meta);
    return rc;
}

static int
write_row(struct state *state, const struct catalog_entry *row, gboolean kept)
{
    int rc = state_begin(state);
    if (rc < 0) {
        return rc;
    }
    rc = kept ? catalog_attempt(state_db(state), row) : catalog_add(state_db(state), row);
    return state_end(state, rc);
}

int
quarantine_store(struct state *state, const struct quarantine_entry *entry)
{
    struct stat st;
    int dirfd = state_quarantine_fd(state);
    g_autofree char *key = quarantine_key(entry->envelope, entry->body_hash);
    if (fstat(entry->fd, &st) < 0) {
        return -errno;
    }
    struct catalog_entry row = {.key = key,
                                .time = g_get_real_time() / G_USEC_PER_SEC,
                                .verdict = verdict_name(entry->decision->verdict),
                                .reason = entry->decision->reason,
                                .envelope = entry->envelope,
                                .size = (guint64)st.st_size};
    int rc = catalog_has(state_db(state), key);
    if (rc < 0) {
        return rc;
    }
    gboolean kept = rc == 1 && copy_exists(dirfd, key);
    rc = kept ? 0 : write_copy(state, entry, &row);
    if (rc < 0) {
        return rc;
    }
    rc = write_row(state, &row, kept);
    if (!kept && (rc == -ENOSPC || rc == -EDQUOT)) {
        /* Nobody was promised this copy, and its room is needed. */
        (void)copy_remove(dirfd, key);
    }
    return rc;
}

int
quarantine_list(struct state *state, gint64 before, int limit, json_t **ret_rows)
{
    return catalog_list(state_db(state), before, limit, ret_rows);
}

int
quarantine_show(struct state *state, const char *key, json_t **ret_meta, int *ret_fd)
{
    g_autofree char *whole = NULL;
    gint64 attempts = 0;
    json_t *meta = NULL;
    int rc = catalog_find(state_db(state), key, &whole, &attempts);
    if (rc < 0) {
        return rc;
    }
    rc = copy_open(state_quarantine_fd(state), whole, &meta, ret_fd, NULL);
    if (rc < 0) {
        return rc == -ENOENT ? -ENODATA : rc;
    }
    json_object_set_new(meta, "attempts", json_integer(attempts));
    *ret_meta = meta;
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "quarantine.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog.h"
#include "copy.h"
#include "format.h"
#include "incident.h"
#include "log.h"
#include "note.h"
#include "origin.h"

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

/* Returns 0, -ENOSPC or -EDQUOT, or another -errno. */
static int
room_check(struct state *state, const struct catalog_entry *row)
{
    const struct state_limits *limits = state_limits(state);
    guint64 all = 0;
    guint64 own = 0;
    g_autofree char *origin = origin_of(row->envelope);
    if (row->size > state_room(state) || state_is_full(state)) {
        return -ENOSPC;
    }
    int rc = catalog_usage(state_db(state), NULL, &all);
    if (rc == 0) {
        rc = catalog_usage(state_db(state), origin, &own);
    }
    if (rc < 0) {
        return rc;
    }
    if (limits->quarantine_size > 0 && all + row->size > limits->quarantine_size) {
        return -ENOSPC;
    }
    return limits->quarantine_quota > 0 && own + row->size > limits->quarantine_quota ? -EDQUOT : 0;
}

static int
write_copy(struct state *state, const struct quarantine_entry *entry,
           const struct catalog_entry *row)
{
    int rc = room_check(state, row);
    if (rc < 0) {
        return rc;
    }
    json_t *envelope = envelope_to_json(entry->envelope);
    if (state_format(state) >= FORMAT_PARAMETERS) {
        envelope_parameters_to_json(entry->envelope, envelope);
    }
    json_t *facts = entry->facts == NULL ? json_null() : facts_to_json(entry->facts);
    json_t *meta =
        json_pack("{s:i, s:s, s:I, s:s, s:s, s:I, s:o, s:o}", "version", COPY_VERSION, "key",
                  row->key, "time", (json_int_t)row->time, "verdict", row->verdict, "reason",
                  row->reason, "size", (json_int_t)row->size, "envelope", envelope, "facts", facts);
    rc = meta == NULL ? -EINVAL : copy_write(state_quarantine_fd(state), row->key, meta, entry->fd);
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
quarantine_list(struct state *state, const struct listing_filter *filter, gint64 before, int limit,
                json_t **ret_rows, gint64 *ret_next)
{
    return listing_step(state_db(state), filter, before, limit, ret_rows, ret_next);
}

int
quarantine_usage(struct state *state, json_t **ret_usage)
{
    guint64 entries = 0;
    guint64 bytes = 0;
    int rc = catalog_count(state_db(state), &entries);
    if (rc == 0) {
        rc = catalog_usage(state_db(state), NULL, &bytes);
    }
    if (rc == 0) {
        *ret_usage =
            json_pack("{s:I, s:I, s:I}", "entries", (json_int_t)entries, "bytes", (json_int_t)bytes,
                      "limit", (json_int_t)state_limits(state)->quarantine_size);
    }
    return rc;
}

static int
access_note(struct state *state, void *data)
{
    return incident_add(state_db(state), data);
}

static int
release_describe(struct state *state, const struct catalog_found *found, json_t *meta)
{
    struct note note = {0};
    int rc = note_read(state_quarantine_fd(state), found->key, &note);
    if (rc < 0 && rc != -ENOENT && rc != -EBADMSG) {
        return rc;
    }
    json_object_set_new(meta, "state",
                        json_string(found->releasing      ? "releasing"
                                    : found->released > 0 ? "released"
                                                          : "kept"));
    json_object_set_new(meta, "released", json_integer((json_int_t)found->released));
    json_object_set_new(meta, "release_attempts",
                        json_integer((json_int_t)found->release_attempts));
    json_object_set_new(meta, "release_answer",
                        note.answer == NULL ? json_null() : json_string(note.answer));
    json_t *to = note.to == NULL ? json_null() : json_array();
    for (char **one = note.to; one != NULL && *one != NULL; one++) {
        json_array_append_new(to, json_string(*one));
    }
    json_object_set_new(meta, "release_to", to);
    note_clear(&note);
    return 0;
}

static int
lost_note(struct state *state, void *data)
{
    return catalog_set_missing(state_db(state), data, TRUE);
}

/* The list is to say so from now on, not only after the next start. */
static int
lost(struct state *state, char *key)
{
    log_err("quarantine: the file of %s is gone, though it was kept", key);
    (void)state_write(state, lost_note, key);
    return -ENODATA;
}

int
quarantine_show(struct state *state, const char *key, gint64 uid, json_t **ret_meta, int *ret_fd)
{
    struct catalog_found found;
    json_t *meta = NULL;
    int fd = -1;
    int rc = catalog_find(state_db(state), key, &found);
    if (rc < 0) {
        return rc;
    }
    rc = copy_open(state_quarantine_fd(state), found.key, &meta, ret_fd == NULL ? NULL : &fd, NULL);
    if (rc < 0) {
        return rc == -ENOENT ? lost(state, found.key) : rc;
    }
    json_object_set_new(meta, "attempts", json_integer(found.attempts));
    struct incident record = {
        .kind = ret_fd == NULL ? INCIDENT_SHOW : INCIDENT_EXPORT, .key = found.key, .uid = uid};
    rc = release_describe(state, &found, meta);
    if (rc == 0) {
        rc = state_write(state, access_note, &record);
    }
    if (rc < 0) {
        json_decref(meta);
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    *ret_meta = meta;
    if (ret_fd != NULL) {
        *ret_fd = fd;
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "catalog.h"
#include "copy.h"
#include "durable.h"
#include "facts.h"
#include "log.h"
#include "note.h"
#include "retention.h"

struct orphan {
    struct catalog_entry row; /* its texts belong to META and ENVELOPE */
    json_t *meta;
    struct envelope *envelope;
};

static void
orphan_free(void *p)
{
    struct orphan *orphan = p;
    envelope_free(orphan->envelope);
    json_decref(orphan->meta);
    g_free(orphan);
}

/* Returns the orphan, or NULL and logs why not. */
static struct orphan *
orphan_read(int dirfd, const char *key)
{
    struct orphan *orphan = g_new0(struct orphan, 1);
    struct catalog_entry *row = &orphan->row;
    guint64 size = 0;
    int version = 0;
    json_int_t time = 0;
    json_int_t promised = 0;
    json_t *envelope = NULL;
    enum verdict verdict;
    int rc = copy_open(dirfd, key, &orphan->meta, NULL, &size);
    if (rc == 0 &&
        json_unpack(orphan->meta, "{s:i, s:s, s:I, s:s, s:s, s:I, s:o}", "version", &version, "key",
                    &row->key, "time", &time, "verdict", &row->verdict, "reason", &row->reason,
                    "size", &promised, "envelope", &envelope) == 0 &&
        version == COPY_VERSION && strcmp(row->key, key) == 0 && promised >= 0 &&
        (guint64)promised == size && verdict_parse(row->verdict, &verdict)) {
        orphan->envelope = envelope_from_json(envelope);
    }
    if (orphan->envelope == NULL) {
        log_warning("quarantine/%s" COPY_SUFFIX ": %s; left alone", key,
                    rc == 0 || rc == -EBADMSG ? "not a file of ours, or damaged" : g_strerror(-rc));
        orphan_free(orphan);
        return NULL;
    }
    row->time = time;
    row->size = size;
    row->envelope = orphan->envelope;
    return orphan;
}

/* The keys of all messages, and of all notes about releases. */
struct files {
    GHashTable *keys;
    GPtrArray *notes;
};

static void
file_note(int dirfd, const char *name, struct files *files)
{
    char key[COPY_KEY_LENGTH + 1];
    if (g_str_has_prefix(name, DURABLE_TMP_PREFIX)) {
        (void)unlinkat(dirfd, name, 0);
    } else if (copy_name_parse(name, COPY_SUFFIX, key)) {
        g_hash_table_add(files->keys, g_strdup(key));
    } else if (copy_name_parse(name, NOTE_SUFFIX, key)) {
        g_ptr_array_add(files->notes, g_strdup(key));
    }
}

/* Temporary files are removed on the way. */
static int
files_read(int dirfd, struct files *files)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        return -errno;
    }
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        file_note(dirfd, entry->d_name, files);
        errno = 0;
    }
    int rc = -errno;
    closedir(dir);
    return rc;
}

/* Rows whose mark has to change; and KEYS loses what has a row. */
struct comparison {
    GHashTable *keys;
    GPtrArray *lost;
    GPtrArray *found;
};

static int
compare_row(const char *key, gboolean missing, void *data)
{
    struct comparison *comparison = data;
    gboolean present = g_hash_table_remove(comparison->keys, key);
    if (present == missing) {
        g_ptr_array_add(present ? comparison->found : comparison->lost, g_strdup(key));
    }
    return 0;
}

static int
mark_rows(struct db *db, const GPtrArray *keys, gboolean missing)
{
    int rc = 0;
    for (guint i = 0; i < keys->len && rc == 0; i++) {
        const char *key = g_ptr_array_index(keys, i);
        if (missing) {
            log_err("quarantine: the file of %s is gone, though it was kept", key);
        }
        rc = catalog_set_missing(db, key, missing);
    }
    return rc;
}

static int
compare_times(const void *a, const void *b)
{
    const struct orphan *one = *(struct orphan *const *)a;
    const struct orphan *two = *(struct orphan *const *)b;
    return (one->row.time > two->row.time) - (one->row.time < two->row.time);
}

static GPtrArray *
orphans_read(int dirfd, GHashTable *keys)
{
    GPtrArray *orphans = g_ptr_array_new_with_free_func(orphan_free);
    GHashTableIter iter;
    void *key;
    g_hash_table_iter_init(&iter, keys);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        struct orphan *orphan = orphan_read(dirfd, key);
        if (orphan != NULL) {
            g_ptr_array_add(orphans, orphan);
        }
    }
    g_ptr_array_sort(orphans, compare_times);
    return orphans;
}

static int
adopt(struct db *db, const GPtrArray *orphans)
{
    int rc = 0;
    for (guint i = 0; i < orphans->len && rc == 0; i++) {
        const struct orphan *orphan = g_ptr_array_index(orphans, i);
        rc = catalog_add(db, &orphan->row);
    }
    if (rc == 0 && orphans->len > 0) {
        log_notice("quarantine: %u file(s) without a row adopted", orphans->len);
    }
    return rc;
}

/* The notes are the truth: rows that say something else, or follow no note, are made to agree. */
static int
releases_agree(struct state *state, const GPtrArray *notes)
{
    struct db *db = state_db(state);
    int dirfd = state_quarantine_fd(state);
    int rc = db_exec(db, "UPDATE quarantine SET releasing = 0, released = 0, release_attempts = 0"
                         " WHERE releasing OR released > 0 OR release_attempts > 0");
    for (guint i = 0; i < notes->len && rc == 0; i++) {
        const char *key = g_ptr_array_index(notes, i);
        struct note note = {0};
        rc = note_read(dirfd, key, &note);
        if (rc < 0 && rc != -EIO) {
            log_warning("quarantine/%s" NOTE_SUFFIX ": %s; the message counts as never released",
                        key, rc == -EBADMSG ? "damaged" : g_strerror(-rc));
            rc = 0;
        } else if (rc == 0 && !copy_exists(dirfd, key)) {
            rc = note_remove(dirfd, key);
        } else if (rc == 0) {
            rc = catalog_set_release(db, key, &note);
        }
        note_clear(&note);
    }
    return rc;
}

struct repair {
    const struct comparison *comparison;
    const GPtrArray *orphans;
    const GPtrArray *notes;
};

static int
repair_write(struct state *state, void *data)
{
    const struct repair *repair = data;
    struct db *db = state_db(state);
    int rc = mark_rows(db, repair->comparison->lost, TRUE);
    if (rc == 0) {
        rc = mark_rows(db, repair->comparison->found, FALSE);
    }
    if (rc == 0) {
        rc = adopt(db, repair->orphans);
    }
    return rc < 0 ? rc : releases_agree(state, repair->notes);
}

/* Deletions that were begun come first: their files are no orphans, nor their rows lost. */
int
recovery_run(struct state *state)
{
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    struct comparison comparison = {.keys = keys, .lost = lost, .found = found};
    int dirfd = state_quarantine_fd(state);
    int rc = retention_recover(state);
    if (rc == 0) {
        rc = files_read(dirfd, &(struct files){.keys = keys, .notes = notes});
    }
    if (rc == 0) {
        rc = catalog_foreach(state_db(state), compare_row, &comparison);
    }
    if (rc < 0) {
        return rc;
    }
    g_autoptr(GPtrArray) orphans = orphans_read(dirfd, keys);
    struct repair repair = {.comparison = &comparison, .orphans = orphans, .notes = notes};
    return state_write(state, repair_write, &repair);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "origin.h"
#include "schema.h"

static char *
text_cut(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    g_autofree char *cut = g_strndup(text, CATALOG_TEXT_MAX);
    return g_utf8_make_valid(cut, -1);
}

static char *
client_of(const struct envelope *envelope)
{
    if (envelope->client_name == NULL && envelope->client_addr == NULL) {
        return NULL;
    }
    g_autofree char *client =
        g_strdup_printf("%s[%s]", envelope->client_name == NULL ? "unknown" : envelope->client_name,
                        envelope->client_addr == NULL ? "unknown" : envelope->client_addr);
    return text_cut(client);
}

static char *
recipients_of(const struct envelope *envelope)
{
    json_t *array = json_array();
    for (guint i = 0; i < envelope->recipients->len && i < CATALOG_RECIPIENTS; i++) {
        g_autofree char *recipient = text_cut(g_ptr_array_index(envelope->recipients, i));
        json_array_append_new(array, json_string(recipient));
    }
    char *text = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    return text;
}

int
catalog_attempt(struct db *db, const struct catalog_entry *entry)
{
    g_autofree char *queue_id = text_cut(entry->envelope->queue_id);
    g_autofree char *client = client_of(entry->envelope);
    int rc = db_run(
        db, "INSERT INTO attempt(key, time, queue_id, client) VALUES(?1, ?2, ?3, ?4)",
        DB_VALUES(DB_TEXT(entry->key), DB_NUMBER(entry->time), DB_TEXT(queue_id), DB_TEXT(client)));
    if (rc < 0) {
        return rc;
    }
    return db_run(db,
                  "DELETE FROM attempt WHERE key = ?1 AND row <= (SELECT row FROM attempt"
                  " WHERE key = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2)",
                  DB_VALUES(DB_TEXT(entry->key), DB_NUMBER(CATALOG_ATTEMPTS)));
}

int
catalog_add(struct db *db, const struct catalog_entry *entry)
{
    const struct envelope *envelope = entry->envelope;
    g_autofree char *reason = text_cut(entry->reason);
    g_autofree char *queue_id = text_cut(envelope->queue_id);
    g_autofree char *sender = text_cut(envelope->sender);
    g_autofree char *subject = text_cut(envelope->subject);
    g_autofree char *client = client_of(envelope);
    g_autofree char *origin = origin_of(envelope);
    char *recipients = recipients_of(envelope);
    int rc =
        db_run(db,
               "INSERT INTO quarantine(key, time, verdict, reason, queue_id, sender,"
               " recipients, recipient_count, subject, size, client, origin)"
               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
               " ON CONFLICT(key) DO UPDATE SET missing = 0, deleting = 0",
               DB_VALUES(DB_TEXT(entry->key), DB_NUMBER(entry->time), DB_TEXT(entry->verdict),
                         DB_TEXT(reason), DB_TEXT(queue_id), DB_TEXT(sender), DB_TEXT(recipients),
                         DB_NUMBER(envelope->recipients->len), DB_TEXT(subject),
                         DB_NUMBER((gint64)entry->size), DB_TEXT(client), DB_TEXT(origin)));
    free(recipients);
    return rc < 0 ? rc : catalog_attempt(db, entry);
}

int
catalog_set_missing(struct db *db, const char *key, gboolean missing)
{
    return db_run(db, "UPDATE quarantine SET missing = ?2 WHERE key = ?1",
                  DB_VALUES(DB_TEXT(key), DB_NUMBER(missing)));
}

int
catalog_has(struct db *db, const char *key)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, "SELECT 1 FROM quarantine WHERE key = ?1",
                        DB_VALUES(DB_TEXT(key)));
    return rc < 0 ? rc : db_step(db, statement);
}

/* Hexadecimal digits only: what else is in a LIKE or GLOB pattern could mean more than itself. */
static gboolean
prefix_is_valid(const char *prefix)
{
    return *prefix != '\0' && prefix[strspn(prefix, "0123456789abcdef")] == '\0';
}

int
catalog_find(struct db *db, const char *prefix, struct catalog_found *ret)
{
    g_autoptr(db_statement) s = NULL;
    if (!prefix_is_valid(prefix)) {
        return -ENOENT;
    }
    int rc = db_prepare(db, &s,
                        "SELECT key, (SELECT count(*) FROM attempt AS a WHERE a.key = q.key),"
                        " missing, releasing, released, release_attempts FROM quarantine AS q"
                        " WHERE key >= ?1 AND key < ?1 || 'g' AND NOT deleting LIMIT 2",
                        DB_VALUES(DB_TEXT(prefix)));
    if (rc == 0) {
        rc = db_step(db, s);
    }
    if (rc != 1) {
        return rc < 0 ? rc : -ENOENT;
    }
    g_strlcpy(ret->key, db_text(s, 0), sizeof ret->key);
    ret->attempts = db_number(s, 1);
    ret->missing = db_number(s, 2) != 0;
    ret->releasing = db_number(s, 3) != 0;
    ret->released = db_number(s, 4);
    ret->release_attempts = db_number(s, 5);
    rc = db_step(db, s);
    return rc == 1 ? -ENOTUNIQ : rc;
}

int
catalog_set_release(struct db *db, const char *key, const struct note *note)
{
    const struct note none = {0};
    const struct note *says = note == NULL ? &none : note;
    return db_run(db,
                  "UPDATE quarantine SET releasing = ?2, released = ?3, release_attempts = ?4"
                  " WHERE key = ?1",
                  DB_VALUES(DB_TEXT(key), DB_NUMBER(says->pending), DB_NUMBER(says->released),
                            DB_NUMBER(says->attempts)));
}

int
catalog_set_deleting(struct db *db, const char *key)
{
    return db_run(db, "UPDATE quarantine SET deleting = 1 WHERE key = ?1", DB_VALUES(DB_TEXT(key)));
}

int
catalog_remove(struct db *db, const char *key)
{
    return db_run(db, "DELETE FROM quarantine WHERE key = ?1", DB_VALUES(DB_TEXT(key)));
}

static int
keys_read(struct db *db, const char *sql, const struct db_value values[], GPtrArray **ret_keys)
{
    g_autoptr(db_statement) statement = NULL;
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    int rc = db_prepare(db, &statement, sql, values);
    if (rc < 0) {
        return rc;
    }
    while ((rc = db_step(db, statement)) == 1) {
        g_ptr_array_add(keys, g_strdup(db_text(statement, 0)));
    }
    if (rc == 0) {
        *ret_keys = g_steal_pointer(&keys);
    }
    return rc;
}

int
catalog_open_keys(struct db *db, enum catalog_open open, int limit, GPtrArray **ret_keys)
{
    return keys_read(db,
                     open == CATALOG_DELETING
                         ? "SELECT key FROM quarantine WHERE deleting ORDER BY row LIMIT ?1"
                         : "SELECT key FROM quarantine WHERE releasing AND NOT deleting"
                           " ORDER BY row LIMIT ?1",
                     DB_VALUES(DB_NUMBER(limit)), ret_keys);
}

int
catalog_old_keys(struct db *db, gint64 time, int limit, GPtrArray **ret_keys)
{
    return keys_read(db,
                     "SELECT key FROM quarantine WHERE time < ?1 AND NOT releasing AND NOT deleting"
                     " ORDER BY time LIMIT ?2",
                     DB_VALUES(DB_NUMBER(time), DB_NUMBER(limit)), ret_keys);
}

int
catalog_usage(struct db *db, const char *origin, guint64 *ret_bytes)
{
    gint64 bytes = 0;
    int rc = db_get(db, "SELECT bytes FROM usage WHERE origin = ?1",
                    DB_VALUES(DB_TEXT(origin == NULL ? SCHEMA_USAGE_ALL : origin)), &bytes);
    *ret_bytes = (guint64)MAX(bytes, 0);
    return rc;
}

int
catalog_count(struct db *db, guint64 *ret_entries)
{
    gint64 entries = 0;
    int rc = db_get(db, "SELECT entries FROM usage WHERE origin = ?1",
                    DB_VALUES(DB_TEXT(SCHEMA_USAGE_ALL)), &entries);
    *ret_entries = (guint64)MAX(entries, 0);
    return rc;
}

int
catalog_foreach(struct db *db, catalog_each *each, void *data)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, "SELECT key, missing FROM quarantine", NULL);
    if (rc < 0) {
        return rc;
    }
    while ((rc = db_step(db, statement)) == 1) {
        rc = each(db_text(statement, 0), db_number(statement, 1) != 0, data);
        if (rc != 0) {
            return rc;
        }
    }
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    return db_run(
        db, "INSERT INTO attempt(key, time, queue_id, client) VALUES(?1, ?2, ?3, ?4)",
        DB_VALUES(DB_TEXT(entry->key), DB_NUMBER(entry->time), DB_TEXT(queue_id), DB_TEXT(client)));
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
    char *recipients = recipients_of(envelope);
    int rc = db_run(db,
                    "INSERT INTO quarantine(key, time, verdict, reason, queue_id, sender,"
                    " recipients, recipient_count, subject, size, client)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
                    " ON CONFLICT(key) DO UPDATE SET missing = 0",
                    DB_VALUES(DB_TEXT(entry->key), DB_NUMBER(entry->time), DB_TEXT(entry->verdict),
                              DB_TEXT(reason), DB_TEXT(queue_id), DB_TEXT(sender),
                              DB_TEXT(recipients), DB_NUMBER(envelope->recipients->len),
                              DB_TEXT(subject), DB_NUMBER((gint64)entry->size), DB_TEXT(client)));
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
catalog_find(struct db *db, const char *prefix, char **ret_key, gint64 *ret_attempts)
{
    g_autoptr(db_statement) statement = NULL;
    g_autofree char *key = NULL;
    if (!prefix_is_valid(prefix)) {
        return -ENOENT;
    }
    int rc = db_prepare(db, &statement,
                        "SELECT key, (SELECT count(*) FROM attempt AS a WHERE a.key = q.key)"
                        " FROM quarantine AS q WHERE key >= ?1 AND key < ?1 || 'g' LIMIT 2",
                        DB_VALUES(DB_TEXT(prefix)));
    if (rc == 0) {
        rc = db_step(db, statement);
    }
    if (rc != 1) {
        return rc < 0 ? rc : -ENOENT;
    }
    key = g_strdup(db_text(statement, 0));
    gint64 attempts = db_number(statement, 1);
    rc = db_step(db, statement);
    if (rc != 0) {
        return rc < 0 ? rc : -ENOTUNIQ;
    }
    *ret_key = g_steal_pointer(&key);
    *ret_attempts = attempts;
    return 0;
}

static json_t *
text_or_null(db_statement *statement, int column)
{
    return sqlite3_column_type(statement, column) == SQLITE_NULL
               ? json_null()
               : json_string(db_text(statement, column));
}

static json_t *
row_to_json(db_statement *s)
{
    json_t *recipients = json_loads(db_text(s, 7), 0, NULL);
    if (recipients == NULL) {
        recipients = json_array();
    }
    return json_pack("{s:I, s:s, s:I, s:s, s:s, s:o, s:s, s:o, s:I, s:o, s:I, s:o, s:I, s:b}",
                     "row", (json_int_t)db_number(s, 0), "key", db_text(s, 1), "time",
                     (json_int_t)db_number(s, 2), "verdict", db_text(s, 3), "reason", db_text(s, 4),
                     "queue_id", text_or_null(s, 5), "sender", db_text(s, 6), "recipients",
                     recipients, "recipient_count", (json_int_t)db_number(s, 8), "subject",
                     text_or_null(s, 9), "size", (json_int_t)db_number(s, 10), "client",
                     text_or_null(s, 11), "attempts", (json_int_t)db_number(s, 12), "missing",
                     db_number(s, 13) != 0);
}

int
catalog_list(struct db *db, gint64 before, int limit, json_t **ret_rows)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement,
                        "SELECT row, key, time, verdict, reason, queue_id, sender, recipients,"
                        " recipient_count, subject, size, client,"
                        " (SELECT count(*) FROM attempt AS a WHERE a.key = q.key), missing"
                        " FROM quarantine AS q WHERE row < ?1 ORDER BY row DESC LIMIT ?2",
                        DB_VALUES(DB_NUMBER(before > 0 ? before : G_MAXINT64), DB_NUMBER(limit)));
    if (rc < 0) {
        return rc;
    }
    json_t *rows = json_array();
    while ((rc = db_step(db, statement)) == 1) {
        json_array_append_new(rows, row_to_json(statement));
    }
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    *ret_rows = rows;
    return 0;
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

/* SPDX-License-Identifier: GPL-2.0-only */
#include "listing.h"

static json_t *
row_to_json(db_statement *s)
{
    static const char *const columns[] = {
        "row",      "key",      "time",  "verdict",  "reason",
        "queue_id", "sender",   "size",  "client",   "recipient_count",
        "subject",  "attempts", "state", "released", "release_attempts"};
    json_t *row = json_object();
    for (int i = 0; i < (int)G_N_ELEMENTS(columns); i++) {
        json_object_set_new(row, columns[i], db_json(s, i));
    }
    json_t *recipients = json_loads(db_text(s, G_N_ELEMENTS(columns)), 0, NULL);
    json_object_set_new(row, "recipients", recipients == NULL ? json_array() : recipients);
    json_object_set_new(row, "missing", json_boolean(db_number(s, G_N_ELEMENTS(columns) + 1)));
    return row;
}

/* TEXT anywhere, for LIKE with ESCAPE '\\'; freed by g_free(). NULL stays NULL. */
static char *
pattern_of(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    GString *pattern = g_string_new("%");
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '%' || *c == '_' || *c == '\\') {
            g_string_append_c(pattern, '\\');
        }
        g_string_append_c(pattern, *c == '*' ? '%' : *c);
    }
    g_string_append_c(pattern, '%');
    return g_string_free(pattern, FALSE);
}

#define STATE \
    "CASE WHEN releasing THEN 'releasing' WHEN released > 0 THEN 'released' ELSE 'kept' END"
#define MATCHES(column, n) " AND (" n " IS NULL OR " column " LIKE " n " ESCAPE '\\')"

static int
rows_read(struct db *db, const struct listing_filter *filter, gint64 before, int limit,
          json_t **ret_rows)
{
    g_autoptr(db_statement) statement = NULL;
    g_autofree char *sender = pattern_of(filter->sender);
    g_autofree char *recipient = pattern_of(filter->recipient);
    g_autofree char *reason = pattern_of(filter->reason);
    g_autofree char *subject = pattern_of(filter->subject);
    int rc = db_prepare(
        db, &statement,
        "SELECT row, key, time, verdict, reason, queue_id, sender, size, client, recipient_count,"
        " subject, (SELECT count(*) FROM attempt AS a WHERE a.key = q.key), " STATE ", released,"
        " release_attempts, recipients, missing"
        " FROM (SELECT * FROM quarantine WHERE row < ?1 ORDER BY row DESC LIMIT ?2) AS q"
        " WHERE NOT deleting AND time >= ?3 AND (?4 = 0 OR time < ?4)" MATCHES("sender", "?5")
            MATCHES("recipients", "?6") MATCHES("reason", "?7") MATCHES(
                "subject", "?8") " AND (?9 IS NULL OR verdict = ?9) AND (?10 IS NULL OR " STATE
                                 " = ?10)"
                                 " ORDER BY row DESC LIMIT ?11",
        DB_VALUES(DB_NUMBER(before), DB_NUMBER(LISTING_STEP), DB_NUMBER(filter->since),
                  DB_NUMBER(filter->until), DB_TEXT(sender), DB_TEXT(recipient), DB_TEXT(reason),
                  DB_TEXT(subject), DB_TEXT(filter->verdict), DB_TEXT(filter->state),
                  DB_NUMBER(limit)));
    return rc < 0 ? rc : db_rows(db, statement, row_to_json, ret_rows);
}

/* The row that a whole step ends at; 0 when there are no more. */
static int
step_end(struct db *db, gint64 before, gint64 *ret)
{
    return db_get(db,
                  "SELECT row FROM quarantine WHERE row < ?1 ORDER BY row DESC"
                  " LIMIT 1 OFFSET ?2",
                  DB_VALUES(DB_NUMBER(before), DB_NUMBER(LISTING_STEP - 1)), ret);
}

int
listing_step(struct db *db, const struct listing_filter *filter, gint64 before, int limit,
             json_t **ret_rows, gint64 *ret_next)
{
    gint64 from = before > 0 ? before : G_MAXINT64;
    int rc = rows_read(db, filter, from, limit, ret_rows);
    if (rc < 0) {
        return rc;
    }
    size_t n = json_array_size(*ret_rows);
    if (n == (size_t)limit) {
        const json_t *last = json_array_get(*ret_rows, n - 1);
        *ret_next = json_integer_value(json_object_get(last, "row"));
        return 0;
    }
    rc = step_end(db, from, ret_next);
    if (rc < 0) {
        json_decref(*ret_rows);
    }
    return rc;
}

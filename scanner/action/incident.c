/* SPDX-License-Identifier: GPL-2.0-only */
#include "incident.h"

#include <string.h>

static const char *const names[INCIDENT_KINDS] = {
    [INCIDENT_INFECTED] = "infected", [INCIDENT_UNSCANNED] = "not fully scanned",
    [INCIDENT_ERROR] = "error",       [INCIDENT_STRIKE] = "strike",
    [INCIDENT_REFUSED] = "not kept",  [INCIDENT_SHOW] = "show",
    [INCIDENT_EXPORT] = "export",     [INCIDENT_RELEASE] = "release",
    [INCIDENT_DELETE] = "delete",     [INCIDENT_EXPIRY] = "expiry",
    [INCIDENT_START] = "start",       [INCIDENT_FORMAT] = "format",
};

const char *
incident_kind_name(enum incident_kind kind)
{
    return names[kind];
}

gboolean
incident_kind_parse(const char *name, enum incident_kind *ret)
{
    for (int i = 0; i < INCIDENT_KINDS; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum incident_kind)i;
            return TRUE;
        }
    }
    return FALSE;
}

static char *
text_cut(const char *text)
{
    return text == NULL ? NULL : g_strndup(text, INCIDENT_TEXT_MAX);
}

int
incident_add(struct db *db, const struct incident *incident)
{
    g_autofree char *sender = text_cut(incident->sender);
    g_autofree char *client = text_cut(incident->client);
    g_autofree char *detail = text_cut(incident->detail);
    gint64 time = incident->time > 0 ? incident->time : g_get_real_time() / G_USEC_PER_SEC;
    return db_run(db,
                  "INSERT INTO incident(time, kind, key, queue_id, sender, client, uid, detail)"
                  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, nullif(?7, -1), ?8)",
                  DB_VALUES(DB_NUMBER(time), DB_TEXT(names[incident->kind]), DB_TEXT(incident->key),
                            DB_TEXT(incident->queue_id), DB_TEXT(sender), DB_TEXT(client),
                            DB_NUMBER(incident->uid), DB_TEXT(detail)));
}

int
incident_prune(struct db *db)
{
    int rc = 0;
    for (int i = 0; i < INCIDENT_KINDS && rc == 0; i++) {
        rc = db_run(db,
                    "DELETE FROM incident WHERE kind = ?1 AND row <= (SELECT row FROM incident"
                    " WHERE kind = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2)",
                    DB_VALUES(DB_TEXT(names[i]), DB_NUMBER(INCIDENT_ROWS)));
    }
    return rc;
}

static json_t *
row_to_json(db_statement *s)
{
    static const char *const texts[] = {"kind", "key", "queue_id", "sender", "client"};
    json_t *row = json_pack("{s:I, s:I}", "row", (json_int_t)db_number(s, 0), "time",
                            (json_int_t)db_number(s, 1));
    for (int i = 0; i < (int)G_N_ELEMENTS(texts); i++) {
        json_object_set_new(row, texts[i], db_json(s, i + 2));
    }
    json_object_set_new(row, "uid", db_json(s, 7));
    json_object_set_new(row, "detail", db_json(s, 8));
    return row;
}

int
incident_list(struct db *db, const struct incident_filter *filter, json_t **ret_rows)
{
    g_autoptr(db_statement) statement = NULL;
    gint64 before = filter->before > 0 ? filter->before : G_MAXINT64;
    int rc =
        db_prepare(db, &statement,
                   "SELECT row, time, kind, key, queue_id, sender, client, uid, detail"
                   " FROM incident WHERE row < ?1 AND time >= ?2"
                   " AND (?3 IS NULL OR kind = ?3)"
                   " AND (?4 IS NULL OR (key >= ?4 AND key < ?4 || 'g'))"
                   " ORDER BY row DESC LIMIT ?5",
                   DB_VALUES(DB_NUMBER(before), DB_NUMBER(filter->since), DB_TEXT(filter->kind),
                             DB_TEXT(filter->key), DB_NUMBER(filter->limit)));
    return rc < 0 ? rc : db_rows(db, statement, row_to_json, ret_rows);
}

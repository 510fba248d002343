/* SPDX-License-Identifier: GPL-2.0-only */
#include "db.h"

#include <errno.h>

/* Somebody may look into the database with another program while it is opened. */
#define BUSY_MS 2000

struct db {
    sqlite3 *handle;
};

static const struct {
    int code;
    int error;
} errors[] = {
    {SQLITE_OK, 0},          {SQLITE_ROW, 1},           {SQLITE_DONE, 0},
    {SQLITE_FULL, -ENOSPC},  {SQLITE_IOERR, -EIO},      {SQLITE_CORRUPT, -EUCLEAN},
    {SQLITE_BUSY, -EBUSY},   {SQLITE_NOTADB, -EUCLEAN}, {SQLITE_NOMEM, -ENOMEM},
    {SQLITE_LOCKED, -EBUSY}, {SQLITE_READONLY, -EROFS}, {SQLITE_CONSTRAINT, -EEXIST},
};

static int
error_of(struct db *db, int code)
{
    int primary = code & 0xff;
    /* A quota reaches us as an I/O error, but it is no broken disk. */
    if (primary == SQLITE_IOERR && sqlite3_system_errno(db->handle) == EDQUOT) {
        return -EDQUOT;
    }
    if (primary == SQLITE_CANTOPEN && sqlite3_system_errno(db->handle) > 0) {
        return -sqlite3_system_errno(db->handle);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        if (errors[i].code == primary) {
            return errors[i].error;
        }
    }
    return -EPROTO;
}

int
db_exec(struct db *db, const char *sql)
{
    return error_of(db, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

/* SQLite keeps the old mode without an error where it cannot have the new one. */
static int
journal_mode_check(struct db *db, const char *mode)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, "PRAGMA journal_mode", NULL);
    if (rc == 0) {
        rc = db_step(db, statement);
    }
    if (rc < 0) {
        return rc;
    }
    return g_ascii_strcasecmp(db_text(statement, 0), mode) == 0 ? 0 : -EPROTO;
}

/* The locking mode comes first: a WAL opened before it would make a -shm file. */
static int
modes_set(struct db *db, gboolean shared)
{
    int rc = db_exec(db, shared ? "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE;"
                                  "PRAGMA synchronous=EXTRA"
                                : "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                                  "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=16777216");
    return rc < 0 ? rc : journal_mode_check(db, shared ? "delete" : "wal");
}

int
db_open(const char *path, gboolean shared, struct db **ret_db)
{
    struct db *db = g_new0(struct db, 1);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path, &db->handle, flags, NULL);
    int rc = error_of(db, code);
    if (rc == 0) {
        sqlite3_busy_timeout(db->handle, BUSY_MS);
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        rc = modes_set(db, shared);
    }
    if (rc < 0) {
        db_close(db, TRUE);
        return rc;
    }
    *ret_db = db;
    return 0;
}

void
db_close(struct db *db, gboolean abandon)
{
    if (db == NULL) {
        return;
    }
    if (abandon) {
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close_v2(db->handle);
    g_free(db);
}

static int
bind(db_statement *statement, int column, const struct db_value *value)
{
    if (value->type == DB_TYPE_NUMBER) {
        return sqlite3_bind_int64(statement, column, value->number);
    }
    if (value->text == NULL) {
        return sqlite3_bind_null(statement, column);
    }
    return sqlite3_bind_text(statement, column, g_utf8_make_valid(value->text, -1), -1, g_free);
}

int
db_prepare(struct db *db, db_statement **ret, const char *sql, const struct db_value values[])
{
    g_autoptr(db_statement) statement = NULL;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    for (int i = 0; code == SQLITE_OK && values != NULL && values[i].type != DB_TYPE_END; i++) {
        code = bind(statement, i + 1, &values[i]);
    }
    if (code == SQLITE_OK) {
        *ret = g_steal_pointer(&statement);
    }
    return error_of(db, code);
}

int
db_step(struct db *db, db_statement *statement)
{
    return error_of(db, sqlite3_step(statement));
}

int
db_run(struct db *db, const char *sql, const struct db_value values[])
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, sql, values);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = db_step(db, statement);
    } while (rc == 1);
    return rc;
}

const char *
db_text(db_statement *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text == NULL ? "" : (const char *)text;
}

gint64
db_number(db_statement *statement, int column)
{
    return sqlite3_column_int64(statement, column);
}

json_t *
db_json(db_statement *statement, int column)
{
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
        return json_null();
    case SQLITE_INTEGER:
        return json_integer((json_int_t)db_number(statement, column));
    default:
        return json_string(db_text(statement, column));
    }
}

int
db_rows(struct db *db, db_statement *statement, db_row *row, json_t **ret)
{
    json_t *rows = json_array();
    int rc;
    while ((rc = db_step(db, statement)) == 1) {
        json_array_append_new(rows, row(statement));
    }
    if (rc < 0) {
        json_decref(rows);
        return rc;
    }
    *ret = rows;
    return 0;
}

int
db_get(struct db *db, const char *sql, const struct db_value values[], gint64 *ret)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, sql, values);
    if (rc == 0) {
        rc = db_step(db, statement);
    }
    if (rc >= 0) {
        *ret = rc == 1 ? db_number(statement, 0) : 0;
    }
    return MIN(rc, 0);
}

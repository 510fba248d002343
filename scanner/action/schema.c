/* SPDX-License-Identifier: GPL-2.0-only */
#include "schema.h"

#include <errno.h>

#define COST "(size + " SCHEMA_ENTRY_COST ")"
/* steps[n] leads from version n to n + 1. */
static const char *const steps[FORMAT_NEWEST] = {
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id = 1), epoch INTEGER NOT NULL);"
    "INSERT INTO meta VALUES(1, 0);"
    "CREATE TABLE quarantine(row INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,"
    " time INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, queue_id TEXT,"
    " sender TEXT NOT NULL, recipients TEXT NOT NULL, recipient_count INTEGER NOT NULL,"
    " subject TEXT, size INTEGER NOT NULL, client TEXT, missing INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE attempt(row INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL,"
    " time INTEGER NOT NULL, queue_id TEXT, client TEXT);"
    "CREATE INDEX attempt_key ON attempt(key);"
    "PRAGMA user_version=1;",

    /* Who sent what a version 1 kept is not known here: it counts for the whole alone. */
    "ALTER TABLE quarantine ADD COLUMN origin TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE quarantine ADD COLUMN deleting INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE quarantine ADD COLUMN releasing INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE quarantine ADD COLUMN released INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE quarantine ADD COLUMN release_attempts INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX quarantine_time ON quarantine(time);"
    "CREATE INDEX quarantine_open ON quarantine(row) WHERE deleting OR releasing;"
    "CREATE TABLE usage(origin TEXT PRIMARY KEY, bytes INTEGER NOT NULL, entries INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "INSERT INTO usage SELECT origin, sum" COST ", count(*) FROM quarantine GROUP BY origin;"
    "INSERT INTO usage SELECT '" SCHEMA_USAGE_ALL "', ifnull(sum" COST ", 0), count(*)"
    " FROM quarantine;"
    "CREATE TRIGGER quarantine_added AFTER INSERT ON quarantine BEGIN"
    " INSERT INTO usage VALUES(new.origin, new.size + " SCHEMA_ENTRY_COST ", 1)"
    "  ON CONFLICT(origin) DO UPDATE SET bytes = bytes + excluded.bytes, entries = entries + 1;"
    " UPDATE usage SET bytes = bytes + new.size + " SCHEMA_ENTRY_COST ", entries = entries + 1"
    "  WHERE origin = '" SCHEMA_USAGE_ALL "'; END;"
    "CREATE TRIGGER quarantine_removed AFTER DELETE ON quarantine BEGIN"
    " UPDATE usage SET bytes = bytes - old.size - " SCHEMA_ENTRY_COST ", entries = entries - 1"
    "  WHERE origin IN (old.origin, '" SCHEMA_USAGE_ALL "');"
    " DELETE FROM usage WHERE origin = old.origin AND entries <= 0;"
    " DELETE FROM attempt WHERE key = old.key; END;"
    "CREATE TABLE incident(row INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL,"
    " kind TEXT NOT NULL, key TEXT, queue_id TEXT, sender TEXT, client TEXT, uid INTEGER,"
    " detail TEXT);"
    "CREATE INDEX incident_kind ON incident(kind, row);"
    "CREATE INDEX incident_key ON incident(key) WHERE key IS NOT NULL;"
    "CREATE TABLE tally(by TEXT NOT NULL, hour INTEGER NOT NULL, name TEXT NOT NULL,"
    " messages INTEGER NOT NULL, infected INTEGER NOT NULL, unscanned INTEGER NOT NULL,"
    " errors INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(by, hour, name))"
    " WITHOUT ROWID;"
    "CREATE TABLE strike(key TEXT PRIMARY KEY, body TEXT NOT NULL,"
    " count INTEGER NOT NULL, last INTEGER NOT NULL);"
    "PRAGMA user_version=2;",

    "PRAGMA user_version=3;",
};

static int
step_run(struct db *db, const char *sql)
{
    int rc = db_exec(db, "BEGIN IMMEDIATE");
    if (rc < 0) {
        return rc;
    }
    rc = db_exec(db, sql);
    if (rc == 0) {
        rc = db_exec(db, "COMMIT");
    }
    if (rc < 0) {
        (void)db_exec(db, "ROLLBACK");
    }
    return rc;
}

int
schema_open(struct db *db, int made, int *ret_version)
{
    gint64 version = 0;
    int rc = db_get(db, "PRAGMA user_version", NULL, &version);
    if (rc == 0 && (version < 0 || version > FORMAT_NEWEST)) {
        return -EOPNOTSUPP;
    }
    gint64 wanted = version == 0 ? made : MAX(version, FORMAT_OLDEST);
    for (; rc == 0 && version < MIN(wanted, FORMAT_NEWEST); version++) {
        rc = step_run(db, steps[version]);
    }
    *ret_version = (int)version;
    return rc;
}

int
schema_raise(struct db *db, int from, int to)
{
    int rc = 0;
    for (; rc == 0 && from < MIN(to, FORMAT_NEWEST); from++) {
        rc = db_exec(db, steps[from]);
    }
    return rc;
}

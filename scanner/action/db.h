/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DB_H
#define DB_H

/*
 * SQLite, made durable and spoken to in errno. Modes (all with locking_mode EXCLUSIVE): on a file
 * system of one mounter WAL with synchronous FULL (0.3 ms a commit, no -shm file); on one that
 * several nodes mount DELETE with EXTRA, for WAL needs shared memory between its users.
 *
 * Errors: -ENOSPC and -EDQUOT (full; the transaction is rolled back), -EIO (a write or fsync
 * failed: final), -EUCLEAN (the file is damaged or no database), -EBUSY, -EROFS, -ENOMEM,
 * -EEXIST (a constraint), -EPROTO (anything else: a bug).
 */

#include <glib.h>
#include <jansson.h>
#include <sqlite3.h>

struct db;

typedef sqlite3_stmt db_statement;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(db_statement, sqlite3_finalize)

/* Opens the existing file PATH (an empty one is an empty database). Returns 0 or -errno. */
int db_open(const char *path, gboolean shared, struct db **ret_db);
/*
 * Closes. ABANDON: the state may belong to somebody else by now, so nothing more is written; the
 * side files stay for the next one that opens it. NULL is fine.
 */
void db_close(struct db *db, gboolean abandon);

/* Runs SQL that takes and gives nothing. Returns 0 or -errno. */
int db_exec(struct db *db, const char *sql);

/* What is bound to a statement's ?1, ?2 ...: DB_VALUES(DB_TEXT(key), DB_NUMBER(n)). */
struct db_value {
    enum { DB_TYPE_END, DB_TYPE_TEXT, DB_TYPE_NUMBER } type;
    const char *text;
    gint64 number;
};
/* NULL is fine; the text is copied, and what is not UTF-8 is made so. */
#define DB_TEXT(value) ((struct db_value){.type = DB_TYPE_TEXT, .text = (value)})
#define DB_NUMBER(value) ((struct db_value){.type = DB_TYPE_NUMBER, .number = (value)})
#define DB_VALUES(...) ((const struct db_value[]){__VA_ARGS__, {.type = DB_TYPE_END}})

/* Prepares one statement and binds VALUES (NULL = none). Returns 0 or -errno. */
int db_prepare(struct db *db, db_statement **ret, const char *sql, const struct db_value values[]);
/* Returns 1 with a row, 0 at the end, or -errno. */
int db_step(struct db *db, db_statement *statement);
/* Prepare, step to the end, finalize. Returns 0 or -errno. */
int db_run(struct db *db, const char *sql, const struct db_value values[]);

/* Columns of the current row; NULL as "" and 0. The text is valid until the next db_step(). */
const char *db_text(db_statement *statement, int column);
gint64 db_number(db_statement *statement, int column);
/* The column as JSON: null, an integer or a string; a new reference. */
json_t *db_json(db_statement *statement, int column);
/* Steps to the end: the rows, each made by ROW, as an array in *RET. Returns 0 or -errno. */
typedef json_t *db_row(db_statement *statement);
int db_rows(struct db *db, db_statement *statement, db_row *row, json_t **ret);
/* Runs SQL, which selects one number or none: 0. Returns 0 or -errno. */
int db_get(struct db *db, const char *sql, const struct db_value values[], gint64 *ret);

#endif

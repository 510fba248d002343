/* SPDX-License-Identifier: GPL-2.0-only */
#include "tally.h"

#include <string.h>

static const char *const names[TALLY_KINDS] = {
    [TALLY_HOUR] = "hour",
    [TALLY_SENDER] = "sender",
    [TALLY_RECIPIENT] = "recipient",
    [TALLY_CLIENT] = "client",
};

gboolean
tally_by_parse(const char *name, enum tally_by *ret)
{
    for (int i = 0; i < TALLY_KINDS; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum tally_by)i;
            return TRUE;
        }
    }
    return FALSE;
}

#define MERGE                                      \
    " ON CONFLICT(by, hour, name) DO UPDATE SET"   \
    " messages = messages + excluded.messages,"    \
    " infected = infected + excluded.infected,"    \
    " unscanned = unscanned + excluded.unscanned," \
    " errors = errors + excluded.errors, bytes = bytes + excluded.bytes"

int
tally_add(struct db *db, enum tally_by by, gint64 hour, const char *name, const struct tally *tally)
{
    return db_run(db, "INSERT INTO tally VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)" MERGE,
                  DB_VALUES(DB_TEXT(names[by]), DB_NUMBER(hour), DB_TEXT(name),
                            DB_NUMBER((gint64)tally->messages), DB_NUMBER((gint64)tally->infected),
                            DB_NUMBER((gint64)tally->unscanned), DB_NUMBER((gint64)tally->errors),
                            DB_NUMBER((gint64)tally->bytes)));
}

/* Those that are least busy make room: who has sent much stays, whenever he began. */
#define SURPLUS                                                                     \
    "by = ?1 AND hour = ?2 AND name <> '" TALLY_OTHERS "' AND name NOT IN ("        \
    "SELECT name FROM tally WHERE by = ?1 AND hour = ?2 AND name <> '" TALLY_OTHERS \
    "' ORDER BY messages DESC, name LIMIT ?3)"

static int
names_prune(struct db *db, const char *by, gint64 hour)
{
    const struct db_value *values = DB_VALUES(DB_TEXT(by), DB_NUMBER(hour), DB_NUMBER(TALLY_NAMES));
    int rc = db_run(db,
                    "INSERT INTO tally SELECT ?1, ?2, '" TALLY_OTHERS "', sum(messages),"
                    " sum(infected), sum(unscanned), sum(errors), sum(bytes) FROM tally"
                    " WHERE " SURPLUS " HAVING count(*) > 0" MERGE,
                    values);
    return rc < 0 ? rc : db_run(db, "DELETE FROM tally WHERE " SURPLUS, values);
}

int
tally_prune(struct db *db, gint64 hour)
{
    int rc = 0;
    for (int i = 0; i < TALLY_KINDS && rc == 0; i++) {
        gint64 kept = i == TALLY_HOUR ? TALLY_SUM_HOURS : TALLY_NAME_HOURS;
        rc = db_run(db, "DELETE FROM tally WHERE by = ?1 AND hour < ?2",
                    DB_VALUES(DB_TEXT(names[i]), DB_NUMBER(hour - kept)));
        if (rc == 0 && i != TALLY_HOUR) {
            rc = names_prune(db, names[i], hour);
        }
    }
    return rc;
}

static json_t *
numbers_add(json_t *row, db_statement *s)
{
    static const char *const numbers[] = {"messages", "infected", "unscanned", "errors", "bytes"};
    for (int i = 0; i < (int)G_N_ELEMENTS(numbers); i++) {
        json_object_set_new(row, numbers[i], json_integer((json_int_t)db_number(s, i + 1)));
    }
    return row;
}

static json_t *
hour_to_json(db_statement *s)
{
    return numbers_add(json_pack("{s:I}", "hour", (json_int_t)db_number(s, 0) * 3600), s);
}

static json_t *
name_to_json(db_statement *s)
{
    return numbers_add(json_pack("{s:s}", "name", db_text(s, 0)), s);
}

int
tally_list(struct db *db, enum tally_by by, gint64 since, int limit, json_t **ret_rows)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement,
                        by == TALLY_HOUR
                            ? "SELECT hour, messages, infected, unscanned, errors, bytes"
                              " FROM tally WHERE by = ?1 AND hour >= ?2 ORDER BY hour DESC LIMIT ?3"
                            : "SELECT name, sum(messages) AS n, sum(infected), sum(unscanned),"
                              " sum(errors), sum(bytes) FROM tally WHERE by = ?1 AND hour >= ?2"
                              " GROUP BY name ORDER BY n DESC, name LIMIT ?3",
                        DB_VALUES(DB_TEXT(names[by]), DB_NUMBER(since), DB_NUMBER(limit)));
    return rc < 0
               ? rc
               : db_rows(db, statement, by == TALLY_HOUR ? hour_to_json : name_to_json, ret_rows);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CATALOG_H
#define CATALOG_H

/*
 * The rows of the quarantine in state.db: one per kept message, and one more per attempt at
 * delivering it. They are an index; what they say more shortly stands whole in the file. Texts are
 * cut to CATALOG_TEXT_MAX bytes and recipients to CATALOG_RECIPIENTS, so that a row stays small.
 *
 * Those that write run inside state_begin() and state_end().
 */

#include <glib.h>
#include <jansson.h>

#include "db.h"
#include "envelope.h"

#define CATALOG_TEXT_MAX 256
#define CATALOG_RECIPIENTS 50

struct catalog_entry {
    const char *key;
    gint64 time; /* Unix seconds */
    const char *verdict;
    const char *reason;
    const struct envelope *envelope;
    guint64 size; /* of the message, bytes */
};

/*
 * Adds the row and its first attempt; a row of the same key, whose file was missing, is made good
 * and gets an attempt. Returns 0 or -errno.
 */
int catalog_add(struct db *db, const struct catalog_entry *entry);
/* Adds an attempt to a row. Returns 0 or -errno. */
int catalog_attempt(struct db *db, const struct catalog_entry *entry);
/* Marks or unmarks the row of KEY: its file is missing. Returns 0 or -errno. */
int catalog_set_missing(struct db *db, const char *key, gboolean missing);

/* Returns 1 (there is such a row), 0, or -errno. */
int catalog_has(struct db *db, const char *key);
/*
 * The one key that begins with PREFIX, and its number of attempts. Returns 0, -ENOENT, -ENOTUNIQ,
 * or -errno. RET_KEY is freed by g_free().
 */
int catalog_find(struct db *db, const char *prefix, char **ret_key, gint64 *ret_attempts);
/* As quarantine_list(). */
int catalog_list(struct db *db, gint64 before, int limit, json_t **ret_rows);

/* Calls EACH for every row until it returns other than 0. Returns that, 0, or -errno. */
typedef int catalog_each(const char *key, gboolean missing, void *data);
int catalog_foreach(struct db *db, catalog_each *each, void *data);

#endif

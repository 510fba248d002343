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

#include "copy.h"
#include "db.h"
#include "envelope.h"
#include "note.h"

#define CATALOG_TEXT_MAX 256
#define CATALOG_RECIPIENTS 50
/* The newest attempts of one key that are kept: repeating a mail for ever fills nothing. */
#define CATALOG_ATTEMPTS 500

struct catalog_entry {
    const char *key;
    gint64 time; /* Unix seconds */
    const char *verdict;
    const char *reason;
    const struct envelope *envelope;
    guint64 size; /* of the message, bytes */
};

/* What a row says about where its message is in its life. */
struct catalog_found {
    char key[COPY_KEY_LENGTH + 1];
    gint64 attempts; /* at delivering it to us */
    gboolean missing;
    gboolean releasing; /* a release was begun and has not ended */
    gint64 released;    /* Unix seconds of the last release; 0 = none */
    gint64 release_attempts;
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
/* The one row whose key begins with PREFIX. Returns 0, -ENOENT, -ENOTUNIQ, or -errno. */
int catalog_find(struct db *db, const char *prefix, struct catalog_found *ret);

/* The row follows what the note says (NULL: it was never released). Returns 0 or -errno. */
int catalog_set_release(struct db *db, const char *key, const struct note *note);
/* Marks the row as one that is being deleted: it is not shown any more. Returns 0 or -errno. */
int catalog_set_deleting(struct db *db, const char *key);
/* Removes the row and its attempts. Returns 0 or -errno. */
int catalog_remove(struct db *db, const char *key);

/* Rows that something was begun with: a deletion, or a release. */
enum catalog_open { CATALOG_DELETING, CATALOG_RELEASING };
/* Their keys (char *), at most LIMIT, oldest first. Returns 0 or -errno. */
int catalog_open_keys(struct db *db, enum catalog_open open, int limit, GPtrArray **ret_keys);
/* The keys of at most LIMIT rows from before TIME with nothing begun. Returns 0 or -errno. */
int catalog_old_keys(struct db *db, gint64 time, int limit, GPtrArray **ret_keys);

/* What is kept of ORIGIN, bytes; NULL = of all. Returns 0 or -errno. */
int catalog_usage(struct db *db, const char *origin, guint64 *ret_bytes);
/* How many messages are kept. Returns 0 or -errno. */
int catalog_count(struct db *db, guint64 *ret_entries);

/* Calls EACH for every row until it returns other than 0. Returns that, 0, or -errno. */
typedef int catalog_each(const char *key, gboolean missing, void *data);
int catalog_foreach(struct db *db, catalog_each *each, void *data);

#endif

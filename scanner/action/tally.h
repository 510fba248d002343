/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TALLY_H
#define TALLY_H

/*
 * Counters per hour, and within it per address: who sent, who received, which client brought it.
 * A row per name would let anybody who invents senders fill the disk: of each hour and kind the
 * TALLY_NAMES busiest stay and the others are one row, TALLY_OTHERS. Names are kept for
 * TALLY_NAME_HOURS, the sums of the hours for TALLY_SUM_HOURS.
 *
 * Those that write run inside a transaction.
 */

#include <glib.h>
#include <jansson.h>

#include "db.h"

#define TALLY_NAMES 250
#define TALLY_OTHERS "(others)"
#define TALLY_NAME_HOURS 72
#define TALLY_SUM_HOURS (400 * 24)

enum tally_by {
    TALLY_HOUR, /* the whole hour; its name is "" */
    TALLY_SENDER,
    TALLY_RECIPIENT,
    TALLY_CLIENT,
    TALLY_KINDS,
};
/* "hour", "sender", "recipient", "client"; returns FALSE when NAME is none. */
gboolean tally_by_parse(const char *name, enum tally_by *ret);

struct tally {
    guint64 messages;
    guint64 infected;
    guint64 unscanned;
    guint64 errors;
    guint64 bytes;
};

/* Adds to the row of NAME; HOUR is Unix seconds / 3600. Returns 0 or -errno. */
int tally_add(struct db *db, enum tally_by by, gint64 hour, const char *name,
              const struct tally *tally);
/* Brings HOUR, and what is too old, within the bounds. Returns 0 or -errno. */
int tally_prune(struct db *db, gint64 hour);

/*
 * Since the hour SINCE. TALLY_HOUR: a row per hour, newest first, with "hour" (Unix seconds of its
 * begin). Else one per name, busiest first, up to LIMIT, with "name". Both have "messages",
 * "infected", "unscanned", "errors", "bytes". Returns 0 or -errno.
 */
int tally_list(struct db *db, enum tally_by by, gint64 since, int limit, json_t **ret_rows);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LISTING_H
#define LISTING_H

/*
 * The list of what is kept, newest first, a step at a time: a step looks at LISTING_STEP rows at
 * most, whatever matches, so that mail which is to be kept never waits long for it.
 */

#include <glib.h>
#include <jansson.h>

#include "db.h"

#define LISTING_STEP 2000

struct listing_filter {
    gint64 since;          /* Unix seconds; 0 = all */
    gint64 until;          /* before it; 0 = all */
    const char *sender;    /* part of it, any case, "*" for anything; NULL = all. So are: */
    const char *recipient; /* one of the first 50 */
    const char *reason;
    const char *subject;
    const char *verdict; /* the whole name; NULL = all */
    const char *state;   /* "kept", "releasing", "released"; NULL = all */
};

/*
 * Up to LIMIT rows older than the row BEFORE (0 = from the newest):
 * {"row","key","time","verdict","reason","queue_id","sender","recipients","recipient_count",
 *  "subject","size","client","attempts","missing","state","released","release_attempts"}. Long
 * texts are cut and recipients are the first 50 (catalog.h); "missing" means that the file is
 * gone. *RET_NEXT is the BEFORE of the next step, 0 at the end; rows may be none before it. Returns
 * 0 or -errno.
 */
int listing_step(struct db *db, const struct listing_filter *filter, gint64 before, int limit,
                 json_t **ret_rows, gint64 *ret_next);

#endif

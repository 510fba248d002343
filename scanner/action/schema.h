/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCHEMA_H
#define SCHEMA_H

/*
 * The tables of state.db, and the number of the format of all that is in state_dir. A step from one
 * version to the next is one transaction with its number; so a crash in between leaves a whole
 * older version. A version is never changed once it was released: what is new is a new one.
 *
 *   1  meta, quarantine, attempt
 *   2  quarantine: origin, deleting, release; usage (kept by triggers), incident, tally, strike
 *   3  the tables of 2; kept envelopes have what the client asked with MAIL and RCPT (esmtp.h)
 *
 * From FORMAT_OLDEST on a version is kept as it was found, read and written as the Postern that
 * made it does, until somebody raises it (docs/DECISIONS/0018).
 */

#include "db.h"
#include "format.h"

/* What one kept message costs beside its bytes: its rows and the rest of its last block. */
#define SCHEMA_ENTRY_COST "4096"
/* The row of usage that sums up all. */
#define SCHEMA_USAGE_ALL "*"

/*
 * Makes the tables of an empty database, in version MADE; brings one below FORMAT_OLDEST up to it;
 * leaves any other as it is. Returns 0 with the version, -EOPNOTSUPP (made by a newer Postern;
 * nothing was changed), or -errno.
 */
int schema_open(struct db *db, int made, int *ret_version);
/* From version FROM to TO, within the caller's transaction. Returns 0 or -errno. */
int schema_raise(struct db *db, int from, int to);

#endif

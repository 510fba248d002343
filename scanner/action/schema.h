/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCHEMA_H
#define SCHEMA_H

/*
 * The tables of state.db. An older database is brought up to date in place, one version at a time,
 * each in one transaction with its number; so a crash in between leaves a whole older version.
 * A version is never changed once it was released: what is new is a new one.
 *
 *   1  meta, quarantine, attempt
 *   2  quarantine: origin, deleting, release; usage (kept by triggers), incident, tally, strike
 */

#include "db.h"

#define SCHEMA_VERSION 2

/* What one kept message costs beside its bytes: its rows and the rest of its last block. */
#define SCHEMA_ENTRY_COST "4096"
/* The row of usage that sums up all. */
#define SCHEMA_USAGE_ALL "*"

/* Returns 0, -EOPNOTSUPP (made by a newer Postern; nothing was changed), or -errno. */
int schema_upgrade(struct db *db);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_SCAN_H
#define CLAMD_SCAN_H

/*
 * The scans of clamd's clients, before the pool's queue: only so many are in the pool that no
 * worker waits for work (one more than workers). The pool serves in turn, so mail that comes while
 * a client has 10,000 files scanned waits for the scans that are in the pool, not for the files;
 * and the other clients wait for the few that each client may have begun (clamd-session.h).
 */

#include "clamd-memory.h"
#include "pool.h"

struct clamd_scans;
struct clamd_scan;

/* At most LIMIT scans at a time in POOL, which outlives it. */
struct clamd_scans *clamd_scans_new(struct pool *pool, guint limit);
/* All have ended or were cancelled before; those that still run are ended. NULL is fine. */
void clamd_scans_free(struct clamd_scans *scans);

/* Takes over CONTENT. DONE as with pool_scan(). */
struct clamd_scan *clamd_scan_start(struct clamd_scans *scans, struct clamd_content *content,
                                    scan_done *done, void *data);
/*
 * Nobody waits for it any more: DONE is not called. One that a worker has comes to its end, or
 * clients that come and go would cost a worker each time. NULL is fine.
 */
void clamd_scan_cancel(struct clamd_scan *scan);

guint clamd_scans_running(const struct clamd_scans *scans);
guint clamd_scans_waiting(const struct clamd_scans *scans);

#endif

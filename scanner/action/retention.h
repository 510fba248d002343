/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RETENTION_H
#define RETENTION_H

/*
 * How what was kept goes: by somebody's command, or by its age. The row is marked and the reason
 * recorded (commit), then the file goes (fsync of the directory), then the row. A crash in between
 * leaves a marked row, and the deletion is completed at the next start; so a missing file is
 * always an alarm, and nothing comes back from a rebuilt index.
 *
 * All functions run in the storage thread.
 */

#include "state.h"

/* Entries that one step of the expiry deletes at most, and the time after which it stops. */
#define RETENTION_STEP 16
#define RETENTION_STEP_US 20000

/*
 * Deletes the one entry whose key begins with PREFIX, for user UID. Returns 0 with its whole key
 * (g_free) in *RET_KEY when that is durable; -ENOENT, -ENOTUNIQ, -EBUSY (it is being released), or
 * another -errno.
 */
int retention_delete(struct state *state, const char *prefix, gint64 uid, char **ret_key);

/*
 * Deletes a few of the entries from before NOW - quarantine_days; those that are being released
 * stay. *RET_MORE: there may be more of them. Returns 0 or -errno.
 */
int retention_step(struct state *state, gint64 now, gboolean *ret_more);

/* Completes the deletions that a crash has left. Returns 0 or -errno. */
int retention_recover(struct state *state);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STATE_H
#define STATE_H

/*
 * state_dir: state.db (SQLite, an index that can be rebuilt), quarantine/ (the truth), lease.
 * Used by one thread only (storage.h). Every write transaction compares the epoch and returns
 * -ESTALE when another process has opened the state since.
 */

#include <glib.h>
#include <jansson.h>

#include "settings.h"

struct state;

/*
 * Opens or makes the state. Returns 0, or -errno with one sentence in *ERROR_R: -EBUSY (another
 * process holds the lease), -EACCES, -ENOENT (the directory must exist: it may be a mount point
 * that is not mounted), -EUCLEAN (the database is damaged).
 * Afterwards: epoch + 1, temporary files removed, orphaned quarantine files adopted.
 */
int state_open(const struct settings *settings, struct state **ret_state, char **error_r);
/* Writes the lease as clean and closes. NULL is fine. */
void state_close(struct state *state);

guint64 state_epoch(const struct state *state);
/* Free space is below the low-water mark. */
gboolean state_is_full(const struct state *state);

#endif

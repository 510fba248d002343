/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STATE_H
#define STATE_H

/*
 * state_dir: state.db (SQLite, an index that can be rebuilt), quarantine/ (the truth), lease.
 * Used by one thread only (storage.h). Every write transaction compares the lease with what this
 * process wrote there, and returns -ESTALE when another process has opened the state since. (The
 * epoch in state.db cannot tell: with locking_mode EXCLUSIVE it would be read from the cache.)
 */

#include <glib.h>
#include <jansson.h>

#include "db.h"
#include "settings.h"

struct state;

/*
 * Opens the state, or makes it in format FRESH (schema.h). Returns 0, or -errno with one sentence
 * in *ERROR_R: -EBUSY (another process holds the lease; with state_storage "shared" after
 * LEASE_WAIT_S), -EACCES (no access, or others can write), -ENOENT (the directory must exist: it
 * may be a mount point that is not mounted), -EOPNOTSUPP (made by a newer Postern), -EIO, -ENOSPC.
 * A database below FORMAT_OLDEST is brought up to that, any other keeps its format. Afterwards:
 * epoch + 1, temporary files removed, orphaned quarantine files adopted; a damaged database was
 * moved aside (state.db.damaged-TIME) and made anew from the files. What was found is logged.
 */
int state_open(const struct settings *settings, int fresh, struct state **ret_state,
               char **error_r);
/* Writes the lease as clean and closes. NULL is fine. */
void state_close(struct state *state);
/*
 * The storage has failed or belongs to somebody else: state_close() will write nothing more.
 */
void state_abandon(struct state *state);

guint64 state_epoch(const struct state *state);
/* The format; may be called from any thread. */
int state_format(const struct state *state);
/*
 * Raises the format to FORMAT for user UID, in one transaction: after a crash it is either. From
 * then on an older Postern refuses the state. Nothing is done when it is that, or newer, already.
 * Returns 0, -EOPNOTSUPP (this Postern does not know FORMAT), or -errno.
 */
int state_raise(struct state *state, int format, gint64 uid);
/* Bytes that may still be written before the low-water mark; 0 also when that cannot be told. */
guint64 state_room(const struct state *state);
/* Free space is below the low-water mark. */
gboolean state_is_full(const struct state *state);

/* What the configuration allows; it may change while the state is open. 0 = no limit. */
struct state_limits {
    guint64 quarantine_size;  /* bytes, of all that is kept */
    guint64 quarantine_quota; /* bytes, of what is kept of one origin (origin.h) */
    guint64 quarantine_days;
};
const struct state_limits *state_limits(const struct state *state);
void state_set_limits(struct state *state, const struct settings *settings);

/*
 * The kept message that is being released now (no other, and not deleted meanwhile); NULL = none.
 */
void state_set_busy(struct state *state, const char *key);
gboolean state_is_busy(const struct state *state, const char *key);

/* For those who keep something in the state. Both borrowed. */
struct db *state_db(const struct state *state);
int state_quarantine_fd(const struct state *state);

/*
 * A write transaction: begin returns 0, -ESTALE or another -errno (then there is none). End
 * commits when RC is 0, else rolls back; returns RC or the commit's -errno.
 */
int state_begin(struct state *state);
int state_end(struct state *state, int rc);
/*
 * WORK in a transaction, for what has to be written on a full disk too (a deletion, a record of
 * who did what): when there is no room, once more without the ballast. Returns WORK's result or
 * the commit's -errno.
 */
typedef int state_work(struct state *state, void *data);
int state_write(struct state *state, state_work *work, void *data);
/* Lays the ballast down again when there is room for it. */
void state_settle(struct state *state);

#endif

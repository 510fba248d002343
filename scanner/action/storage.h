/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STORAGE_H
#define STORAGE_H

/*
 * The one thread that touches state_dir: all fsync and SQLite happens there, so that the event
 * loop (PROGRESS, the monitor, clean mail) never waits for a disk. Jobs run in their
 * order, those of the background behind the others.
 *
 * -EIO (a write or fsync failed), -EROFS (the file system gave up), -EUCLEAN (the database is
 * damaged) and -ESTALE (somebody else has taken the state) are final: the thread stops taking
 * jobs, each waiting job ends with the same error, and ON_FATAL is called once in the event loop;
 * posternd then exits and leaves the rest to the cluster manager.
 */

#include <systemd/sd-event.h>

#include "settings.h"
#include "state.h"

struct storage;

/* ERROR is the -errno; TEXT says in half a sentence what it means. */
typedef void storage_fatal(void *data, int error, const char *text);

/*
 * Opens the state in SETTINGS->state_dir (lock, lease, epoch, recovery; FRESH as for state_open())
 * and starts the thread.
 * Blocks until the state is open. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int storage_new(sd_event *event, const struct settings *settings, int fresh,
                storage_fatal *on_fatal, void *data, struct storage **ret_storage, char **error_r);
/*
 * Completes the job at work, ends the waiting ones with -ECANCELED, closes the state (lease
 * "clean"), joins the thread. DONE of all of them is called from within. Not to be called from
 * DONE or ON_FATAL. NULL is fine.
 */
void storage_free(struct storage *storage);

/* The epoch under which the state was opened. */
guint64 storage_epoch(const struct storage *storage);
/* The state's format now (schema.h). */
int storage_format(const struct storage *storage);

/*
 * WORK runs in the thread; then DONE in the event loop with WORK's result (0 or -errno). DONE is
 * called exactly once, for jobs that never ran too, and owns DATA from then on.
 */
typedef int storage_work(struct state *state, void *data);
typedef void storage_done(void *data, int result);
void storage_submit(struct storage *storage, storage_work *work, storage_done *done, void *data);
/*
 * The same for what mail does not wait for (lists, expiry, counters): it runs when no other job
 * waits, or when it has waited for STORAGE_PATIENCE_US itself. Such a job is to be short, some
 * ten milliseconds; what takes longer submits itself again.
 */
#define STORAGE_PATIENCE_US 500000
void storage_submit_background(struct storage *storage, storage_work *work, storage_done *done,
                               void *data);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef OFFLOAD_H
#define OFFLOAD_H

/*
 * Calls that may block for ever (a file on a dead network mount, a FUSE file whose owner sleeps)
 * in threads, so that the event loop never waits. Nothing can tell beforehand which file will
 * block: fstat() itself asks the server. A thread that does not come back in time is given up:
 * its task ends with -ETIMEDOUT, what it works on stays its own until it returns. While
 * OFFLOAD_STUCK_MAX are given up, new tasks end with -EBUSY at once.
 */

#include <systemd/sd-event.h>
#include <glib.h>

#define OFFLOAD_STUCK_MAX 32U

struct offload;
struct offload_task;

/* Runs in a thread and touches DATA alone; returns 0 or -errno (a positive value is free). */
typedef int offload_work(void *data);
/*
 * The end, from the event loop, exactly once unless cancelled before. DATA is the caller's again,
 * or NULL when it was given up (RC is -ETIMEDOUT) or never begun (-EBUSY, -EAGAIN; destroyed).
 */
typedef void offload_done(void *owner, void *data, int rc);

/* TIMEOUT_US: after it a thread is given up. Returns 0 or -errno. */
int offload_new(sd_event *event, guint64 timeout_us, struct offload **ret);
/* Waits for no thread: tasks that have not ended are given up. NULL is fine. */
void offload_free(struct offload *offload);

/*
 * Starts WORK(DATA). DESTROY frees a DATA that nobody takes back, in the thread or here.
 * DONE never comes from within this call.
 */
struct offload_task *offload_start(struct offload *offload, offload_work *work, void *data,
                                   GDestroyNotify destroy, offload_done *done, void *owner);
/* Gives it up without a call of DONE. NULL is fine. */
void offload_cancel(struct offload_task *task);

#endif

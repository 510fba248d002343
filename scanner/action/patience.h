/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PATIENCE_H
#define PATIENCE_H

/*
 * Asks systemd for more time while the calling thread, which opens the state, gets on or may yet
 * get on. What has to be read may take minutes on a slow disk; but a start that hangs, on a disk
 * that is dead, has to be found out. The sign of life is the thread's CPU time: whoever waits for a
 * disk that answers uses a little of it all the time. A disk may be silent for a while, too: for
 * PATIENCE_SILENT_S, the time after which Linux itself gives up a SCSI command
 * (/sys/block/sdX/device/timeout), the thread is taken for one that waits. Who kills it before
 * gains nothing: a thread that waits for a disk ends only when that has answered, and a stop that
 * does not end has the node fenced.
 */
#define PATIENCE_SILENT_S 30

struct patience;

/* NULL when that is not to be had, which does no harm. */
struct patience *patience_new(void);
/* NULL is fine. */
void patience_free(struct patience *patience);

#endif

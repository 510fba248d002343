/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PATIENCE_H
#define PATIENCE_H

/*
 * Asks systemd for more time while the calling thread, which opens the state, gets on. What has to
 * be read may take minutes on a slow disk; but a start that hangs, on a disk that is dead, is to be
 * found out within the unit's short TimeoutStartSec=. The sign of life is the thread's CPU time:
 * whoever waits for a disk that answers uses a little of it all the time.
 */

struct patience;

/* NULL when that is not to be had, which does no harm. */
struct patience *patience_new(void);
/* NULL is fine. */
void patience_free(struct patience *patience);

#endif

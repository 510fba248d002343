/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BACKSEAT_H
#define BACKSEAT_H

/*
 * Less processor and disk than others for a while, and then as much again: for signatures that are
 * loaded while others scan mail. It costs a loader that has the machine to itself nothing. Where
 * all is busy it gets more step by step, by SIGALRM: a second set in memory for long is no good
 * either.
 *
 * To get a niceness back takes a limit (getrlimit(2), RLIMIT_NICE: the unit's LimitNICE=+0), so
 * without that it is not given up. Where the kernel groups processes by session (sched(7), "The
 * autogroup feature") it counts within the session alone, and one process that loads gets as much
 * as all workers together; so the session's niceness is changed, too, which everybody may.
 */

#include <stdbool.h>

struct backseat {
    bool is_taken;
    bool is_nicer;
    int nice;      /* before */
    int autogroup; /* -1: there is none */
};

/* PROC is a descriptor of /proc. The process leads a session of its own. */
void backseat_take(struct backseat *seat, int proc);
/* Returns 0, or -errno: it has less, still. */
int backseat_leave(struct backseat *seat);

#endif

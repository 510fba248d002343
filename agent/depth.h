/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DEPTH_H
#define DEPTH_H

/*
 * The deeper monitors, OCF_CHECK_LEVEL 10 and 20. The agent asks; the programs do it, so that
 * nothing in here waits for a disk: an answer that does not come before the action's deadline is
 * the failure.
 */

#include "action.h"

#define DEPTH_SCAN 10
#define DEPTH_STATE 20

/*
 * 10: the engine, where it is RUNNING, forks a worker that has to find the test virus; and where
 * SERVING, posternd has a mail with it scanned as it has every mail. 20: and posternd writes to the
 * state, syncs, and reads back. While signatures are loaded there is nothing to scan with, which is
 * no failure. Returns PCMK_OCF_OK; PCMK_OCF_DEGRADED with the reason printed when it works but a
 * person has to do something (the state is full); or PCMK_OCF_UNKNOWN_ERROR with the reason
 * printed.
 */
int depth_check(struct agent *agent, bool running, bool serving);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRIAL_H
#define TRIAL_H

/* The proof that the state can be kept: what the deepest monitor asks for. */

#include "state.h"

/*
 * In the storage thread: commits a transaction that changes nothing, writes a file where messages
 * are kept, syncs it, has the kernel forget it, reads it back, and removes it. Returns 0; -ENOSPC
 * or -EDQUOT (no room: mail flows, but nothing can be kept); -EIO also when something else is read
 * than was written; or another -errno as state_begin().
 */
int trial_run(struct state *state);

#endif

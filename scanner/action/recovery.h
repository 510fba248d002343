/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RECOVERY_H
#define RECOVERY_H

/*
 * Makes files and rows agree after a crash, or after a database was lost: temporary files are
 * removed, a file without a row is adopted, a row without a file is marked and is an alarm in the
 * log. A file whose first line is not ours is left alone and named in the log.
 */

#include "state.h"

/* Runs once, while the state is opened. Returns 0 or -errno. */
int recovery_run(struct state *state);

#endif

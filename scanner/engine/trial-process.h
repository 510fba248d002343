/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRIAL_PROCESS_H
#define TRIAL_PROCESS_H

/* The process in which trial_run() runs. */

#include <stdbool.h>
#include <sys/types.h>

#include "trial-run.h"

struct engine;

/* Whether signatures are being loaded, or are about to be: that comes first. */
bool trial_process_must_wait(const struct engine *engine);

/*
 * Forks it: killed with the caller, and but for a pause (whatever_memory) as nice as can be,
 * reading from disks when nobody else does, and the first that the kernel kills for memory. AGAIN:
 * less nice, for the clock ran out the last time. Returns 0 with the process, for waitpid(), and
 * the other end of TASK's channel, not blocking; or -errno.
 */
int trial_process_start(struct trial_task *task, bool again, pid_t *pid, int *channel);

/*
 * Ends PID. The trial of GENERATION (NULL: it tried none) does not count then, which is written by
 * another process: the disk may hang, and who stops the engine waits.
 */
void trial_process_end(pid_t pid, const struct settings *settings, const char *generation);

#endif

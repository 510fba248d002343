/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SUPERVISED_H
#define SUPERVISED_H

/*
 * postern-supervise's one object: a program, started and kept as its unit would (process-kind.h).
 * It adopts what its program leaves behind (PR_SET_CHILD_SUBREAPER), writes what is to be known to
 * the record (process-record.h) and wakes postern-notify at each change.
 */

#include <systemd/sd-event.h>

#include "process-kind.h"

struct supervised;

/*
 * Starts KIND's program with the words of OPTIONS as its arguments. The event loop ends with 0 when
 * the program has ended in order or SIGTERM has stopped all of it, with 1 when it was given up.
 * Returns 0 with *RET, or -errno with one sentence in *ERROR_R (g_free).
 */
int supervised_new(sd_event *event, const struct process_kind *kind, const char *options,
                   struct supervised **ret, char **error_r);
/* NULL is fine. */
void supervised_free(struct supervised *supervised);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RIGHTS_H
#define RIGHTS_H

#include "process-kind.h"

/*
 * Makes this process what the unit of KIND makes of it: user and groups, capabilities (all others
 * out of the bounding set), no new privileges, limits, umask; what the cluster manager's daemon had
 * of its own (signals, priority for the OOM killer, directory) is put back. To be called in the
 * child, before exec. Returns 0, or -errno with the name of the step in *STEP: then it must not go
 * on.
 */
int rights_take(const struct process_kind *kind, const char **step);

#endif

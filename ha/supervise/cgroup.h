/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CGROUP_H
#define CGROUP_H

/*
 * A control group for a service where there is one to be had: version 2, or any writable hierarchy
 * of version 1. It is named after the service, by which process-find.h knows who is in it; with
 * version 2 it is handed to the service's user when that makes groups of its own there (the
 * engine).
 */

#include "process-kind.h"

/*
 * Makes it, or empties and renews one that is there. Returns its path (g_free), or NULL where there
 * is none.
 */
char *cgroup_make(const struct process_kind *kind);
/* Moves the caller in. Returns 0 or -errno. */
int cgroup_enter(const char *path);
/* Removes it and what is below; one that is not empty stays. */
void cgroup_remove(const char *path);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROCESS_FIND_H
#define PROCESS_FIND_H

/*
 * Who belongs to a service, found in /proc: whoever is in a control group of its name (that of
 * systemd's unit, or the one that postern-supervise made; not of a container's or a user's), in the
 * supervisor's session, or is a descendant of one who is. Works while systemd cannot be asked, and
 * where there are no control groups. What has ended and only waits to be reaped is not counted.
 */

#include <glib.h>

#include "process-record.h"

/* The folder at the top of a control group hierarchy that postern-supervise makes its groups in. */
#define PROCESS_CGROUP "postern"

struct process_group {
    const char *name;             /* "posternd.service" */
    struct process_id supervisor; /* pid 0: there is none, by name alone */
};

/* Array of struct process_id, the supervisor left out; to be freed with g_array_unref(). */
GArray *process_find(const struct process_group *group);
unsigned process_count(const struct process_group *group);

/* Sends SIGNAL to exactly that process (pidfd). Returns 0, also when it has ended; or -errno. */
int process_signal(const struct process_id *id, int signal);
/* To all of them; returns how many there were. */
unsigned process_signal_all(const struct process_group *group, int signal);

#endif

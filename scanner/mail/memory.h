/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MEMORY_H
#define MEMORY_H

/*
 * The one memory budget: signatures + workers x (private memory and temporary files) + mail in
 * progress stay below the setting `memory`. What engine and workers may take at most is
 * subtracted; the rest is for mail, and the sender of what does not fit hears 451 at MAIL.
 *
 * The workers' worst cases hardly come together, so mail always has an eighth of the budget, and
 * at least room for one message of message_size. Should they come together after all, the kernel
 * ends a worker first (oom_score_adj): its message is scanned again by another.
 */

#include <glib.h>
#include <jansson.h>

#include "settings.h"

/* Beside its content a message takes: buffers, envelope, recipients. Bytes. */
#define MEMORY_MESSAGE_OVERHEAD 1048576U

/* What this machine and this process may have, bytes. */
struct memory_limits {
    guint64 machine; /* physical, or the limit of the container that we are in */
    guint64 own; /* of this process's control groups (MemoryMax= of the unit); G_MAXUINT64 = none */
};

/*
 * Looks at physical memory and at control groups: version 2 below CGROUPS ("/sys/fs/cgroup"), our
 * own being named in the file SELF ("/proc/self/cgroup"); of version 1 the container's limit.
 */
struct memory_limits memory_limits_read(const char *cgroups, const char *self);

struct memory_plan {
    guint64 total;  /* the whole budget */
    guint64 engine; /* what engine and workers may take at most */
    guint64 mail;   /* for mail in progress */
    gboolean tight; /* total and engine would leave less for mail than one largest message */
};

/*
 * ENGINE is the engine's state (docs/ARCHITECTURE.md), its "memory" and "worker_memory"; NULL, or
 * where it does not say them, they are estimated from the settings.
 */
struct memory_plan memory_plan(const struct settings *settings, const struct memory_limits *limits,
                               json_t *engine);

#endif

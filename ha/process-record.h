/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROCESS_RECORD_H
#define PROCESS_RECORD_H

/*
 * What postern-supervise says of its program: ROLE_DIR/NAME.process, root's alone, replaced as a
 * whole. A process is named by its number and its start time (field 22 of /proc/PID/stat), so that
 * another one with the same number is not taken for it.
 */

#include <sys/types.h>
#include <glib.h>

#include "unit.h"

struct process_id {
    pid_t pid; /* 0 = none */
    guint64 start;
};

struct process_record {
    struct process_id supervisor; /* also the number of the session */
    struct process_id main;
    enum unit_condition condition;
    gint64 up_until; /* g_get_monotonic_time() when it was ready last; 0 = never yet */
    guint64 starts;  /* since the supervisor was started */
    char *status;    /* what the program said last (STATUS=), or how it ended */
};

/* The start time of PID, or 0 when there is no such process, or only its remains. */
guint64 process_start_time(pid_t pid);
/* Is it still there? */
bool process_id_lives(const struct process_id *id);

/* DIR: NULL = ROLE_DIR. Returns 0, or -errno: -ENOENT. What cannot be understood is -EBADMSG. */
int process_record_read(const char *dir, const char *name, struct process_record *ret);
/* Returns 0 or -errno. */
int process_record_write(const char *dir, const char *name, const struct process_record *record);
void process_record_remove(const char *dir, const char *name);
void process_record_clear(struct process_record *record);

#endif

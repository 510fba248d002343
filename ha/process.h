/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROCESS_H
#define PROCESS_H

/*
 * The services without systemd: what unit.h does, where the bus is NULL. Either this machine was
 * not booted with systemd: then postern-supervise, one per service, starts the program, hears that
 * it is ready, starts it again within the limits of its unit, and ends it. Or systemd cannot be
 * reached: then only process_stop() and what looks is of use, by the control groups that systemd
 * made.
 *
 * Deadlines are in microseconds of g_get_monotonic_time(). Names are those of the units.
 */

#include <glib.h>

#include "unit.h"

/* Makes the directories that systemd-tmpfiles makes from ocf/postern.tmpfiles. Returns 0, or -errno
 * with *ERROR_R (g_free). */
int process_prepare(char **error_r);

enum unit_condition process_condition(const char *name);
/* As unit_away(). */
gint64 process_away(const char *name);
/* As unit_processes(). */
int process_processes(const char *name);
/* As unit_last_words(). */
char *process_last_words(const char *name);
/* As unit_main_pid(). */
pid_t process_main_pid(const char *name);
/* SIGHUP: the program reads its configuration again, which the caller has checked. Returns 0, or
 * -errno with *ERROR_R. */
int process_hang_up(const char *name, char **error_r);

/*
 * As unit_start(): starts postern-supervise and waits until the program is ready. What it is to be
 * told stands in this process's environment, in POSTERN_OPTIONS, as in the units. Nothing of this
 * process is inherited, no descriptor above all: whoever reads its output waits for the end of it.
 */
int process_start(const char *name, gint64 deadline, char **error_r);
/* The same without waiting for it: for what mail does not depend on. */
int process_ask(const char *name, gint64 deadline, char **error_r);

/*
 * As unit_stop(): SIGTERM, SIGKILL after the unit's TimeoutStopSec= or half of the time that is
 * left; returns 0 only when nobody is there any more, else -ETIMEDOUT with *ERROR_R before the
 * DEADLINE.
 */
int process_stop(const char *name, gint64 deadline, char **error_r);

#endif

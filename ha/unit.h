/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef UNIT_H
#define UNIT_H

/*
 * systemd's units, driven for the cluster over sd-bus.
 *
 * While the cluster uses a unit it carries a runtime drop-in with Before=pacemaker.service, so that
 * a shutdown of the machine stops the cluster manager first, which then stops the unit in its turn.
 * But when Pacemaker is being stopped, that line lets the unit's own stop wait for Pacemaker's,
 * which waits for the agent: so then the drop-in is removed first. (Pacemaker's class systemd
 * removes its own always, lib/services/systemd.c; to let systemd read its units anew costs a
 * promotion and a demotion more than all the rest, so it is done only where it must.)
 *
 * All deadlines are in microseconds of g_get_monotonic_time().
 *
 * Where BUS is NULL there is no systemd, or none that answers: then process.h does the same, as far
 * as it can.
 */

#include <stdbool.h>
#include <glib.h>
#include <systemd/sd-bus.h>

/* The manager's private socket, as systemctl uses it: it works while dbus-daemon does not. */
#define UNIT_PRIVATE_BUS "unix:path=/run/systemd/private"
#define UNIT_PATH "/org/freedesktop/systemd1"
#define UNIT_MANAGER "org.freedesktop.systemd1.Manager"

/*
 * Connects to systemd as root. Returns 0 with *RET_BUS (sd_bus_flush_close_unref), or -errno
 * with one sentence in *ERROR_R: -EHOSTDOWN when systemd is not the init of this machine.
 */
int unit_bus_open(sd_bus **ret_bus, char **error_r);
void unit_bus_close(sd_bus *bus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus, unit_bus_close)

enum unit_condition {
    UNIT_ABSENT,     /* not installed, or masked */
    UNIT_DOWN,       /* nothing runs, nothing failed */
    UNIT_UP,         /* it has said that it is ready */
    UNIT_RESPAWNING, /* starting, or waiting for systemd to start it again */
    UNIT_LEAVING,    /* stopping */
    UNIT_FAILED,     /* systemd has given up; its processes may live all the same */
};

/* Returns 0 with *RET, or -errno with *ERROR_R. */
int unit_condition(sd_bus *bus, const char *name, enum unit_condition *ret, char **error_r);

/* Microseconds since NAME, which is UNIT_RESPAWNING or UNIT_LEAVING, was active last; 0 when it
 * never was since it was started, or systemd does not tell. */
gint64 unit_away(sd_bus *bus, const char *name);

/* How NAME ended last, in systemd's word and its own (sd_notify's STATUS=), to be put behind a
 * colon; from a program with lesser rights, made fit for a log. To be freed with g_free(). */
char *unit_last_words(sd_bus *bus, const char *name);
/* The number of NAME's main process, 0 = none. */
unsigned unit_main_pid(sd_bus *bus, const char *name);

/* Number of processes in the unit's control group and below, or -errno. */
int unit_processes(sd_bus *bus, const char *name);

/*
 * Gives NAME its drop-in: Before=, and SERVICE, lines for its [Service] section that end in a line
 * break (NULL = none). *CHANGED becomes true when it was not so already: then unit_reload() has
 * to follow. Returns 0 or -errno with *ERROR_R.
 */
int unit_configure(const char *name, const char *service, bool *changed, char **error_r);

/* Takes the drop-ins of the NULL-terminated NAMES away and lets systemd know. Returns 0 or -errno
 * with *ERROR_R. */
int unit_release(sd_bus *bus, const char *const *names, gint64 deadline, char **error_r);

/* Lets systemd read its units anew. Returns 0 or -errno with *ERROR_R. */
int unit_reload(sd_bus *bus, gint64 deadline, char **error_r);

/*
 * Asks for NAME to be started (UP) or stopped, and does not wait for it: for what mail does not
 * depend on. Returns 0 or -errno with *ERROR_R. Where BUS is NULL a stop is waited for.
 */
int unit_ask(sd_bus *bus, const char *name, bool up, gint64 deadline, char **error_r);

/* Has NAME read its configuration again (ExecReload=), if it is active. Returns 0 or -errno with
 * *ERROR_R. */
int unit_reload_config(sd_bus *bus, const char *name, gint64 deadline, char **error_r);

/* Is Pacemaker being stopped (or started)? Then a unit has to be released before it is stopped.
 * Also true when systemd does not tell. */
bool unit_cluster_moves(sd_bus *bus);

/*
 * Starts NAME and waits until it is active; returns at once when it is. Returns 0, or -errno with
 * *ERROR_R: -ENOENT (no such unit), -ETIMEDOUT, -EIO (it failed; the sentence has what the unit
 * said last).
 */
int unit_start(sd_bus *bus, const char *name, gint64 deadline, char **error_r);

/*
 * Stops NAME and waits until its control group is empty, which is the only proof: processes that
 * systemd left behind are killed. Returns 0 (also when it did not run or is not installed), or
 * -errno with *ERROR_R: -ETIMEDOUT (processes are still there).
 */
int unit_stop(sd_bus *bus, const char *name, gint64 deadline, char **error_r);

/*
 * Calls ON_CHANGE (with DATA, in sd_bus_process()) whenever a property of NAME changes. Returns
 * 0 or -errno. It lasts as long as BUS.
 */
int unit_watch(sd_bus *bus, const char *name, sd_bus_message_handler_t on_change, void *data);

/* TEXT quoted for a line of a unit file. The caller frees with g_free(). */
char *unit_quote(const char *text);

#endif

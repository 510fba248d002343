/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef OCF_H
#define OCF_H

/*
 * The resource agent's side of the Open Cluster Framework API 1.1: what the cluster manager
 * passes in the environment, and how an action answers. The return codes are Pacemaker's
 * enum ocf_exitcode (crm/common/results.h); nothing of Pacemaker is linked.
 */

#include <stdbool.h>
#include <glib.h>
#include <crm/common/results.h>

struct ocf {
    char *resource; /* OCF_RESOURCE_INSTANCE without the ":N" of a clone's instance */
    char *node;     /* the cluster's name of this node, or the host name */
    bool promotable;
    bool probe; /* a monitor without an interval */
    unsigned check_level;
    gint64 deadline; /* g_get_monotonic_time() at which the action must have answered */
    char *source;    /* node names of a migration, or NULL */
    char *target;
    char **environ; /* copy; the parameters are read from it */
};

/*
 * Reads ENV (environ(7)). Returns 0, or -EINVAL with one sentence in *ERROR_R
 * (g_free). Fills *RET with defaults as far as it could, so that stop goes on after an error.
 * The deadline is CRM_meta_timeout from now less a margin in which an error can be reported;
 * 20 s when there is none.
 */
int ocf_read(char **env, struct ocf *ret, char **error_r);
void ocf_clear(struct ocf *ocf);

/* The resource parameter NAME, or NULL when it is not set or empty. Borrowed. */
const char *ocf_param(const struct ocf *ocf, const char *name);

/* Calls EACH for every resource parameter that was passed, the cluster's own ones left out. */
typedef void ocf_param_each(const char *name, const char *value, void *data);
void ocf_params_foreach(const struct ocf *ocf, ocf_param_each *each, void *data);

/* Milliseconds to the deadline, at least 1. */
int ocf_time_left_ms(const struct ocf *ocf);

/*
 * Prints the reason of an error to stderr in the form that Pacemaker shows in its status; the
 * last one counts. Returns CODE, so that an action can end with it.
 */
G_GNUC_PRINTF(3, 4)
int ocf_fail(const struct ocf *ocf, int code, const char *format, ...);

#endif

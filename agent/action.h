/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ACTION_H
#define ACTION_H

/*
 * The actions of ocf:postern:scanner, one file each. An action returns an OCF code and has
 * printed the reason (ocf_fail) when that is an error. What an action may and may not do:
 * ocf_postern_scanner(7).
 */

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "ocf.h"
#include "role.h"
#include "settings.h"

struct agent {
    struct ocf ocf;
    enum role_mode mode;
    sd_bus *bus;               /* NULL: not asked for yet, or this machine runs no systemd */
    struct settings *settings; /* NULL until service_settings() */
    bool programs_checked;     /* not again when the action is done once more */
};

typedef int action_run(struct agent *agent);

struct action {
    const char *name;
    action_run *run;
    bool as_anyone; /* needs neither root nor a cluster nor systemd */
    bool exclusive; /* changes units: one at a time on a node */
};

/* The row of NAME, or NULL. */
const struct action *action_find(const char *name);
/* The names of all, separated by "|"; to be freed with g_free(). */
char *action_names(void);

action_run action_start;
action_run action_stop;
action_run action_monitor;
action_run action_promote;
action_run action_demote;
action_run action_migrate_to;
action_run action_migrate_from;
action_run action_reload;
action_run action_reload_agent;
action_run action_validate_all;
action_run action_meta_data;
action_run action_notify;

#endif

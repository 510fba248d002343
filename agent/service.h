/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SERVICE_H
#define SERVICE_H

/*
 * The steps that the actions are made of. Each returns an OCF code, PCMK_OCF_OK when all went
 * well, and has printed the reason otherwise. All are idempotent.
 */

#include "action.h"
#include "unit.h"

/* Connects to systemd; on a machine that does not run it the bus stays NULL, which is as good.
 * PCMK_OCF_UNKNOWN_ERROR with the reason in *ERROR_R when it cannot be reached; nothing is
 * printed. */
int service_bus(struct agent *agent, char **error_r);

/* Checks the parameters and reads the configuration; PCMK_OCF_INVALID_PARAM. */
int service_settings(struct agent *agent);

/* The same, with the reason printed. */
int service_require(struct agent *agent);

/* What root starts, and what it starts it with: there, root's, of one version. Starts each program
 * once, however often it is called. PCMK_OCF_NOT_INSTALLED or PCMK_OCF_INSUFFICIENT_PRIV. */
int service_programs(struct agent *agent);

/* Engine and postern-notify, for this resource; it does not wait for the signatures. */
int service_engine_up(struct agent *agent);
/* Forgets this resource on this node; the engine ends with the last one that needed it. */
int service_engine_down(struct agent *agent);

/* posternd, after checking that the state is there, with the milter's directory where the MTA
 * sees it. What a failed start leaves is taken back. */
int service_daemon_up(struct agent *agent);
/* Needs neither configuration nor storage; returns when the last process has ended. */
int service_daemon_down(struct agent *agent);

/* Brings the mount below the mail queue to where the parameters want it. */
int service_milter_move(struct agent *agent);

struct service_status {
    enum unit_condition engine;
    enum unit_condition daemon;
    bool known;     /* the role file has this resource */
    bool taken;     /* it has another one that may serve */
    bool unmounted; /* it serves, but the state's file system is no longer mounted */
    enum role_stage stage;
};

/* systemd runs it, or is about to run it again: nothing for the cluster to do. */
bool service_alive(enum unit_condition condition);

/* What runs; touches neither configuration nor storage. */
int service_status(struct agent *agent, struct service_status *ret);

/* Enters a resource that runs into the role file when that was lost. */
void service_adopt(struct agent *agent, bool serving);

/* Publishes the score; a failure is logged, the next event or monitor tries again. */
void service_publish(struct agent *agent, bool force);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

/* Reads no configuration and touches no storage: an error here costs the node. */
int
action_stop(struct agent *agent)
{
    int rc = agent->mode == ROLE_ENGINE ? PCMK_OCF_OK : service_daemon_down(agent);
    return rc == PCMK_OCF_OK ? service_engine_down(agent) : rc;
}

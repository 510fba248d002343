/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include "log.h"

/* Reads no configuration and touches no storage: an error here costs the node. */
int
action_stop(struct agent *agent)
{
    g_autofree char *error = NULL;
    int rc = service_bus(agent, &error);
    if (rc == PCMK_OCF_NOT_INSTALLED) {
        log_info("%s: nothing to stop: %s", agent->ocf.resource, error);
        return PCMK_OCF_OK;
    }
    rc = agent->mode == ROLE_ENGINE ? PCMK_OCF_OK : service_daemon_down(agent);
    return rc == PCMK_OCF_OK ? service_engine_down(agent) : rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

/* The engine stays: the node is warm for the next promotion. */
int
action_demote(struct agent *agent)
{
    struct service_status status = {.known = false};
    int rc = service_daemon_down(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_status(agent, &status);
    }
    if (rc != PCMK_OCF_OK) {
        return rc;
    }
    if (!status.known && status.engine != UNIT_UP && status.engine != UNIT_RESPAWNING) {
        return PCMK_OCF_NOT_RUNNING;
    }
    service_publish(agent, false);
    return PCMK_OCF_OK;
}

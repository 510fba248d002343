/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

/* Never waits for signatures: until there are some posternd answers 451. */
int
action_promote(struct agent *agent)
{
    struct service_status status = {.known = false};
    int rc = service_settings(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_require(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = service_status(agent, &status);
    }
    if (rc != PCMK_OCF_OK) {
        return rc;
    }
    if (!status.known && !service_alive(status.engine)) {
        return ocf_fail(&agent->ocf, PCMK_OCF_NOT_RUNNING,
                        "%s was not started on this node: start comes before promote",
                        agent->ocf.resource);
    }
    return service_daemon_up(agent);
}

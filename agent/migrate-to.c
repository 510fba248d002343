/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include <string.h>

/*
 * On the source: posternd ends its messages and closes the state cleanly, so that the target can
 * take it at once. The engine stays until the stop that follows, which finds no posternd and so
 * does not touch the state that is the target's by then.
 */
int
action_migrate_to(struct agent *agent)
{
    int rc = service_settings(agent);
    if (rc != PCMK_OCF_OK) {
        return rc;
    }
    if (strcmp(agent->settings->state_storage, "shared") != 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR,
                        "state_storage is %s: only state that both nodes mount can be handed over",
                        agent->settings->state_storage);
    }
    return service_daemon_down(agent);
}

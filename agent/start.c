/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

/*
 * Returns when the engine runs, not when its signatures are loaded: a long start on one node
 * would hold up the recovery of everything on the others. Readiness goes into the score.
 */
int
action_start(struct agent *agent)
{
    int rc = service_settings(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_engine_up(agent);
    }
    if (rc == PCMK_OCF_OK && agent->mode == ROLE_PRIMITIVE) {
        rc = service_daemon_up(agent);
    }
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include "score.h"

/*
 * The programs' own configuration is read again: first here, where what is wrong with it has a
 * line to name and nobody has changed; then by those units that run.
 */
int
action_reload(struct agent *agent)
{
    static const char *const units[] = {SCORE_ENGINE_UNIT, SCORE_DAEMON_UNIT, SCORE_SHARE_UNIT,
                                        SCORE_UPDATE_UNIT};
    struct service_status status = {.known = false};
    g_autofree char *error = NULL;
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
    if (!service_alive(status.engine) || (status.taken && !status.known)) {
        return ocf_fail(&agent->ocf, PCMK_OCF_NOT_RUNNING, "%s is not started here",
                        agent->ocf.resource);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (unit_reload_config(agent->bus, units[i], agent->ocf.deadline, &error) < 0) {
            return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
        }
    }
    return PCMK_OCF_OK;
}

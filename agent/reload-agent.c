/* SPDX-License-Identifier: GPL-2.0-only */
#include "record.h"
#include "service.h"

/*
 * A parameter that the metadata call reloadable has another value: require_ready, which the next
 * look at the score takes up, or queue_directory, which matters to an instance that serves. The
 * mail server loses the socket at no moment: the new mount is made before the old one goes.
 */
int
action_reload_agent(struct agent *agent)
{
    struct service_status status = {.known = false};
    int rc = service_settings(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_require(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = record_identify(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = service_status(agent, &status);
    }
    if (rc != PCMK_OCF_OK || !service_alive(status.daemon) || !status.known) {
        return rc;
    }
    return service_milter_move(agent);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

/* Never waits for signatures: until there are some posternd answers 451. */
int
action_promote(struct agent *agent)
{
    int rc = service_settings(agent);
    return rc == PCMK_OCF_OK ? service_daemon_up(agent) : rc;
}

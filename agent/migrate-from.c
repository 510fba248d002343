/* SPDX-License-Identifier: GPL-2.0-only */
#include "action.h"

/* On the target: what start does, with an engine that is warm when a clone with part=engine
 * keeps it so. The state's epoch shuts out the source, should it still write. */
int
action_migrate_from(struct agent *agent)
{
    return action_start(agent);
}

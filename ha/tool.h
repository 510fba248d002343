/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOOL_H
#define TOOL_H

/*
 * Runs one of the cluster manager's command line tools: they are its stable interface across
 * versions. No shell; an empty environment, because inside an agent the cluster's own variables
 * change what the tools do.
 */

#include <glib.h>

#define TOOL_ATTRD_UPDATER "/usr/sbin/attrd_updater"
#define TOOL_CRM_RESOURCE "/usr/sbin/crm_resource"

/*
 * Runs ARGV[0] (an absolute path) with ARGV, waits up to TIMEOUT_MS, kills it then. Returns 0
 * when it exited with 0; -ETIMEDOUT, -ENOENT (not installed), -EREMOTEIO (any other end), or
 * -errno of what failed here. On failure *ERROR_R is one sentence (g_free) with the tool's last
 * line of output.
 */
int tool_run(const char *const *argv, int timeout_ms, char **error_r);

#endif

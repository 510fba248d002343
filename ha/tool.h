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
#define TOOL_COROSYNC_CMAPCTL "/usr/sbin/corosync-cmapctl"
#define TOOL_CRM_RESOURCE "/usr/sbin/crm_resource"
#define TOOL_CIBADMIN "/usr/sbin/cibadmin"
#define TOOL_CRM_DIFF "/usr/sbin/crm_diff"
#define TOOL_CRM_MON "/usr/sbin/crm_mon"
#define TOOL_CRM_NODE "/usr/sbin/crm_node"
#define TOOL_CRM_SIMULATE "/usr/sbin/crm_simulate"
#define TOOL_CRM_VERIFY "/usr/sbin/crm_verify"
#define TOOL_CRMADMIN "/usr/sbin/crmadmin"
#define TOOL_STONITH_ADMIN "/usr/sbin/stonith_admin"

/*
 * From here on every tool has a process group of its own, so that Ctrl-C on the terminal is for
 * this program alone: it ends what it does in its own order, and the tool in hand is not killed
 * half way.
 */
void tool_shield(void);

/* What a tool prints or writes at most, in bytes; SIGXFSZ ends one that goes on: the answer of
 * another node is not trusted to end. The largest CIBs are a few MiB. */
#define TOOL_OUTPUT_MAX (64 << 20)

/*
 * Runs ARGV[0] (an absolute path) with ARGV, waits up to TIMEOUT_MS, kills it then. Returns 0
 * when it exited with 0; -ETIMEDOUT, -ENOENT (not installed), -EREMOTEIO (any other end), or
 * -errno of what failed here. On failure *ERROR_R is one sentence (g_free) with the tool's last
 * line of output.
 */
int tool_run(const char *const *argv, int timeout_ms, char **error_r);

/*
 * The same for a tool whose answer is wanted: with INPUT (NULL = none) on its standard input and
 * the variables "NAME=VALUE" of ENVIRONMENT (NULL = none; ends with NULL) beside the usual few.
 * Returns its exit status, or -errno as tool_run() (-ECANCELED: it was killed by a signal). After
 * an exit, whichever, *OUTPUT_R is all that it wrote to its standard output (g_free); OUTPUT_R may
 * be NULL. When the result is not 0 *ERROR_R is one sentence with the last line of what it said.
 */
int tool_output(const char *const *argv, const char *const *environment, const char *input,
                int timeout_ms, char **output_r, char **error_r);

#endif

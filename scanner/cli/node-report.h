/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NODE_REPORT_H
#define NODE_REPORT_H

/*
 * What one node has and does, as one JSON object: what `postern cluster node report` prints there
 * and `postern cluster setup`, `status` and `push-config` read here. Whatever cannot be found out
 * is null, with a sentence beside it where there is one to say; nothing is changed, and nothing on
 * the shared storage is touched.
 *
 *   version          1
 *   node             its name in the cluster
 *   postern, pacemaker, libclamav, systemd: versions, or null
 *   users            {"postern": [uid, gid] or null, "postern-engine": ...}
 *   memory           {"total", "available"}: bytes
 *   config           {"path", "sha256" (null: there is no file), "error" (null: it is correct)}
 *   state_dir, state_storage, milter_listen: of the configuration; null when it is not correct
 *   signatures       {"generation" (null: none installed), "date" (Unix seconds, 0 unknown)}
 *   peers            the nodes that it gives signatures to or takes them from (cluster-peers.h)
 *   update_on        the setting
 *   share            what postern-share knows: {"role" ("gives", "takes"), "from" (who gives; null:
 *                    this node), "gives" (the generation that the cluster is to have; null: none),
 *                    "error", "age" (seconds since it wrote that), "turn" (whether this node may
 * try and adopt that now: "go", "wait", "refused"; null) with "why", "here" (node-state.h)}; null:
 *                    it does not run
 *   load_seconds     the last load that was measured here; null: none
 *   units            {NAME: {"present", "active", "enabled"}}
 *   agent            the resource agent is installed
 *   postfix          an array, of each instance that counts and is here {"name",
 *                    "config_directory", "main_cf" (with all links followed),
 *                    "queue_directory", "chroot" (of its smtpd), "smtpd_milters",
 *                    "non_smtpd_milters", "milter_default_action", "master_pid" (0: does not run
 *                    here), "milter" ("enabled", "partly", "off")}
 *   postfix_error    null, or why one or all are missing in the array
 *   clock            Unix seconds, a real number
 *   state_formats    [oldest, newest] form of the state that this version can serve
 *   changing         who changes the cluster from here at this moment ("setup, process 4711"), or
 *                    null
 *   engine, service  what the engine and posternd say of themselves, or null
 *   quarantine       {"entries", "bytes"}: of the node that serves, else null
 */

#include <jansson.h>

/* PATH: the configuration; NULL = the usual one. DIRS: the configuration directories of the Postfix
 * that counts (ends with NULL); without one all enabled instances of the node. A new reference. */
json_t *node_report(const char *path, char *const *dirs);

/* SHA-256 of what is in PATH in hexadecimal; NULL when it cannot be read. g_free(). */
char *node_file_hash(const char *path);

#endif

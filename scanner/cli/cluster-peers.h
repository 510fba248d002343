/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_PEERS_H
#define CLUSTER_PEERS_H

/*
 * The file by which the nodes give each other signatures (scanner/share/peers.h): made on this node
 * of what corosync says, and written by `postern cluster node peers` on each.
 */

#include <glib.h>
#include <jansson.h>

#include "cli.h"
#include "model.h"

/* In a node's report: {"mark": what has to be the same on all nodes (PEERS_MARK_NONE: there is no
 * file), "nodes": [NAME] or null, "error": s or null}. A new reference. */
json_t *cluster_peers_report(const char *path);
#define PEERS_MARK_NONE "none"

/* What setup will do about it, by the REPORTS ({NODE: report}), in a line for people; NULL:
 * nothing, they are all of one file with all members of the cluster. */
const char *cluster_peers_plan(const struct model *model, const json_t *reports);
/*
 * Does it: all members of the cluster get it, or none, for one that has it waits for the others to
 * give. Says what it did. Mail is scanned without it, so a failure is told, and no more.
 */
void cluster_peers_share(struct cli *cli, const struct model *model, const json_t *reports,
                         const char *config);

/*
 * Gives it to NODES (char *): with the key that is here, or a new one (none is here, or IS_FRESH);
 * then the old one is taken back once all have the new one. Returns 0, or -errno with one sentence
 * about the first that failed; then an old key stays good.
 */
int cluster_peers_give(struct cli *cli, const GPtrArray *nodes, const char *config,
                       gboolean is_fresh, char **error_r);

/* Takes it away on NODES, where it can; who fetches signatures then is each node for itself. */
void cluster_peers_drop(const GPtrArray *nodes, const char *config);

#endif

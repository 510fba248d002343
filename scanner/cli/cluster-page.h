/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_PAGE_H
#define CLUSTER_PAGE_H

/*
 * All nodes of the cluster on one page, gathered: what the cluster manager says of them (crm_mon,
 * cibadmin), and what each says of itself (`postern cluster node report`, over ssh). Nothing is
 * changed.
 *
 * The page is one JSON object, which `postern cluster status --json` prints:
 *   version      1
 *   node         the node that looked; "time" and "until": when it began and when all had answered,
 *                Unix seconds
 *   resource     id of the scanner's resource or its clone; null: there is none
 *   cluster      {"dc", "quorum", "maintenance", "fencing" (stonith-enabled), "devices" [id]}; null
 *                with "cluster_error" when the cluster does not answer here
 *   nodes        [{"name", "online", "standby", "maintenance", "pending", "unclean", "health" (by
 *                Pacemaker, "green"), "role" ("Promoted", "Unpromoted", "Started" or null),
 * "score", "state", "health_text" (attributes; null), "error" (why there is no report; null),
 *                "report" (node-report.h; null)}]
 *   failures     [{"operation", "node", "reason", "status"}]
 *   fencing      [{"target", "status", "time"}]: what was fenced, or failed to be
 *   differences  [{"what", "values" {NODE: text}}]: what should be the same on all nodes and is not
 *   findings     [{"level", "where", "what", "todo"}]: doctor's of the cluster's configuration, and
 *                what this page found; level: "problem", "warning", "unchecked"
 *   verdict      "healthy", "degraded", "unknown"
 */

#include <jansson.h>

#include "settings.h"

/* CONFIG: the configuration file that the nodes report by; NULL = the usual one. A new reference.
 */
json_t *cluster_page(const struct settings *settings, const char *config);

/* The member of nodes that serves; NULL. Borrowed. */
const json_t *cluster_page_active(const json_t *page);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NODECHECK_H
#define NODECHECK_H

/* The nodes beside each other: what `postern cluster node report` says on each, and what in it
 * speaks against putting the scanner into the cluster. */

#include <jansson.h>

#include "model.h"

/*
 * Asks all nodes of the cluster at once. Returns {NODE: report}; who could not be asked is not in
 * it, and REFUSALS has why. ONLY_LOCAL: only this node is asked. CONFIG: the configuration file
 * there; NULL = the default.
 */
json_t *nodecheck_gather(const struct model *model, const char *config, gboolean only_local,
                         GPtrArray *refusals);
/* On another node somebody changes the cluster for Postern at this moment. */
void nodecheck_busy(const json_t *reports, GPtrArray *refusals);

/* Compares REPORTS with each other and with what a node needs. */
void nodecheck(const json_t *reports, const struct model *model, GPtrArray *refusals);

/* Every one of NODES (char *), on which the mail may run, has to have the group's Postfix, so that
 * it learns of the scanner too; but where its main.cf is on the group's storage the node that has
 * the storage is enough. */
void nodecheck_postfix(const json_t *reports, const struct model *model, const GPtrArray *nodes,
                       GPtrArray *refusals);

/* NEED: bytes that the signatures take in memory, by estimate. Less than that in all is refused,
 * less than that available is a remark. */
void nodecheck_memory(const json_t *reports, guint64 need, GPtrArray *refusals);

/* What all nodes have alike once nodecheck() has refused nothing, from the report of the first:
 * borrowed; NULL = not known. */
const char *nodecheck_state_dir(const json_t *reports);
/* Postfix's queue directory when its smtpd is chrooted; the milter's socket has to be there. From
 * ACTIVE's report (NULL: none), else from the first that knows one: a main.cf on the shared storage
 * is seen by the node that has the storage alone. */
const char *nodecheck_queue_directory(const json_t *reports, const char *active);
/* The longest load that was measured on a node, in seconds; 0 = none. */
unsigned nodecheck_load_seconds(const json_t *reports);
/* The newest format of the state that all NODES members of the cluster know; 0 = not all were
 * asked. */
int nodecheck_state_format(const json_t *reports, unsigned nodes);
/* How many nodes have Postern in all instances of Postfix ("enabled"), and how many have Postfix.
 */
unsigned nodecheck_milters(const json_t *reports, unsigned *with_postfix_r);

#endif

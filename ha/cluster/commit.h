/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef COMMIT_H
#define COMMIT_H

/*
 * Writes a change of the configuration into the running cluster: crm_diff makes the difference,
 * `cibadmin --patch` applies it whole or not at all. The patch raises the epoch by one, so it is
 * refused when the configuration was changed meanwhile.
 */

#include <glib.h>

#include "plan.h"

/*
 * Applies EDIT(cib, DATA) when the configuration's epoch still is *EPOCH (cib_epoch()), and gives
 * the new one in *EPOCH (the old is freed). A change of the cluster's state alone does not hinder.
 * Returns 0; -ESTALE: the configuration was changed by somebody else; -errno; with one sentence in
 * *ERROR_R. When *EPOCH is the old one afterwards, nothing was written; -ESTALE with a new one:
 * EDIT was written, and somebody else wrote at the same moment.
 */
int commit_edit(char **epoch, plan_edit *edit, const void *data, char **error_r);

/* CIB with EDIT applied, for simulations; xmlFreeDoc(). */
xmlDoc *commit_preview(const xmlDoc *cib, plan_edit *edit, const void *data);

/* Waits until the cluster has nothing more to do. Returns 0, -ETIMEDOUT or -errno. */
int commit_settle(unsigned timeout_s, char **error_r);

/* Lets the cluster forget the failed actions and the scores of RESOURCE, which else outlive it;
 * NODES (char *) are those where it may have run. */
void commit_forget(const char *resource, const GPtrArray *nodes);

/* Saves CIB as DIR/cib-TIME.xml (DIR is made, for root alone). Returns the path (g_free()), or NULL
 * with one sentence. */
char *commit_backup(xmlDoc *cib, const char *dir, char **error_r);

#endif

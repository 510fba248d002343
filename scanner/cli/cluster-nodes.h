/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_NODES_H
#define CLUSTER_NODES_H

/* What setup and remove do on the nodes beside the cluster's configuration: the directory for the
 * state, and the milter in Postfix. */

#include <glib.h>
#include <jansson.h>

#include "model.h"
#include "plan.h"
#include "refuse.h"

/*
 * Whether DIR is fit as state_dir on the node that has its file system: *MISSING_R when it has to
 * be made; anything but a directory of user postern alone is refused. UNKNOWN (NULL is fine)
 * becomes the command for a person when the node cannot be reached.
 */
void nodes_check_state_dir(const char *node, const char *dir, gboolean *missing_r,
                           GPtrArray *refusals);
/*
 * Makes it, for a new state in FORMAT: else posternd, which does not know its peers, would make one
 * in the oldest (docs/DECISIONS/0018). Returns 0 or -errno with one sentence.
 */
int nodes_make_state_dir(const char *node, const char *dir, int format, char **error_r);
/* Takes it away again when nothing is in it. */
void nodes_drop_state_dir(const char *node, const char *dir);

/* What the signatures in DIR/current of this node take in memory, by the sizes of their files: an
 * estimate on the high side, from official databases of 8.7 million signatures (222 MB compressed,
 * 1.2 GiB in memory). 0 = none are there. */
guint64 nodes_signature_memory(const char *dir);

enum nodes_milter { NODES_ENABLE, NODES_DISABLE };
/* `postern cluster node milter ...` as a person types it on each node; CONFIG: --config, or NULL;
 * DIRS: the instances of Postfix, empty = all of the node. g_free() */
char *nodes_milter_line(enum nodes_milter what, const char *config, const GPtrArray *dirs);
/*
 * Runs it on each of NODES (char *), one after another, and says what each did unless QUIET.
 * DRY_RUN only shows. Returns 0, or -errno with one sentence about the first that failed. With
 * ENABLE the nodes behind that one are left alone; DISABLE is tried on all.
 */
int nodes_milter(enum nodes_milter what, const GPtrArray *nodes, const char *config,
                 const GPtrArray *dirs, gboolean dry_run, gboolean quiet, char **error_r);
/* The command that makes state_dir, for a shell; g_free(). */
char *nodes_state_dir_line(const char *dir);

#endif

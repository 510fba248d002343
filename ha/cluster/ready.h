/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef READY_H
#define READY_H

/* Which nodes can give verdicts at once: what drill, wait and status ask. */

#include "model.h"

/*
 * Whether NODE is a member of the cluster whose engine is ready: online, not standby, with the
 * promotion score of a ready engine (of a promotable scanner) and a postern-state that begins with
 * "ready". The promoted node has a high score while it loads for the first time (score.h), so the
 * score alone does not say it.
 */
gboolean ready_node(const struct model *model, const char *node);

/* What the node says of itself (postern-state), or why it says nothing. g_free(). */
char *ready_text(const struct model *model, const char *node);

/* The node that serves: where the scanner is promoted, or where it runs when it is no clone. NULL =
 * none. g_free(). */
char *ready_serving(const struct model *model);

#endif

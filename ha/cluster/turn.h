/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TURN_H
#define TURN_H

/*
 * One change of the cluster at a time: a lock of this node, which its report tells the others
 * ("changing"). Who changes something takes his turn first and asks the others then, so of two
 * that begin on two nodes at the same moment at least one sees the other. A process that is killed
 * loses its turn.
 */

#include <glib.h>

#define TURN_PATH "/run/postern-cluster.lock"

/*
 * Takes the turn for WHAT ("setup"), until turn_end(). Returns a descriptor, or -errno with one
 * sentence: -EBUSY, another process of this node has it and *ERROR_R says which.
 */
int turn_take(const char *path, const char *what, char **error_r);
/* TURN: what turn_take() returned; negative: nothing is done. */
void turn_end(int turn);

/* Who has the turn ("setup, process 4711"), fit for a terminal; NULL = nobody. g_free() */
char *turn_holder(const char *path);

#endif

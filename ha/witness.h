/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WITNESS_H
#define WITNESS_H

/*
 * Which of Pacemaker's daemons hold what this node has published: pacemaker-attrd has the values,
 * pacemaker-controld's death has them erased. When one of them is another process than the last
 * time, all has to be said again; while both live on, nothing has. Found in /proc, since asking the
 * daemons themselves costs a program's start, more than all the rest of a monitor.
 */

/*
 * Both, as a text to compare and to keep ("ATTRD:START CONTROLD:START", numbers of proc(5); "-"
 * for one that does not run, as on a remote node). KNOWN: an earlier answer or NULL; what still
 * holds of it is not searched for. To be freed with g_free().
 */
char *witness_read(const char *known);

#endif

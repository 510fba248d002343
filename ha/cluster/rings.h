/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RINGS_H
#define RINGS_H

/*
 * The addresses by which the nodes of the cluster know each other: corosync's nodelist, as
 * corosync-cmapctl(8) prints it, with the names that Pacemaker has for the nodes (crm_node -l).
 */

#include <glib.h>

struct ring_node {
    char *name;
    char **addresses; /* numeric, in the order of the links; NULL-terminated, at least one */
};

/* All members of the cluster, those that are down too; of struct ring_node *, by name. NULL with
 * one sentence: the cluster does not answer here, or a name in the nodelist has no address. */
GPtrArray *rings_read(char **error_r);

/* The same of what the two tools have printed. RESOLVE (NULL: none) gives a numeric address for a
 * name (g_free()), or NULL. */
GPtrArray *rings_parse(const char *cmap, const char *names, char *(*resolve)(const char *name),
                       char **error_r);

#endif

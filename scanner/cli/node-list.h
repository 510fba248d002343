/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NODE_LIST_H
#define NODE_LIST_H

#include <glib.h>

/*
 * The names of the cluster's nodes, those that are down too (crm_node -l); g_strfreev(). NULL with
 * one sentence in *ERROR_R when the cluster does not answer here.
 */
char **node_list(char **error_r);

#endif

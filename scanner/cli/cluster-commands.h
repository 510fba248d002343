/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_COMMANDS_H
#define CLUSTER_COMMANDS_H

/* The commands below `postern cluster`; each as in cli.h, in a file cluster-NAME.c. */

#include "cli.h"

int cluster_setup(struct cli *cli, int argc, char **argv);
int cluster_remove(struct cli *cli, int argc, char **argv);
int cluster_status(struct cli *cli, int argc, char **argv);
int cluster_finish_upgrade(struct cli *cli, int argc, char **argv);
int cluster_node(struct cli *cli, int argc, char **argv);
int cluster_push_config(struct cli *cli, int argc, char **argv);
int cluster_rekey(struct cli *cli, int argc, char **argv);
int cluster_node_config(struct cli *cli, int argc, char **argv);
int cluster_node_peers(struct cli *cli, int argc, char **argv);
int cluster_node_milter(struct cli *cli, int argc, char **argv);
int cluster_drill(struct cli *cli, int argc, char **argv);
int cluster_wait(struct cli *cli, int argc, char **argv);

#endif

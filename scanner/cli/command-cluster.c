/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster */
#include "cluster-commands.h"

static const struct cli_command commands[] = {
    {"setup", "Put the scanner into the running mail group", cluster_setup},
    {"remove", "Take the scanner out of the mail group", cluster_remove},
    {"status", "All nodes on one page: who serves, who could, what differs", cluster_status},
    {"drill", "Fail over for real, with probe mails, and tell how long mail was refused",
     cluster_drill},
    {"wait", "Wait until nodes are ready", cluster_wait},
    {"push-config", "Put this node's configuration on all nodes", cluster_push_config},
    {"rekey", "Make a new key by which the nodes give each other signatures", cluster_rekey},
    {"finish-upgrade", "Raise the format of the state after all nodes were upgraded",
     cluster_finish_upgrade},
    {"node", "What the others run on each node: report, milter, config, peers", cluster_node},
};

int
cli_cluster(struct cli *cli, int argc, char **argv)
{
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}

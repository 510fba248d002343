/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster node: what the other commands run on each node; a person may, too. */
#include "cluster-commands.h"

#include <stdio.h>
#include <jansson.h>

#include "node-report.h"

static int
report(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "[CONFIG_DIRECTORY...]",
                     "Prints what this node has and does, as JSON.", &argc, &argv)) {
        return CLI_ERROR;
    }
    g_autofree char *path = cli_config_path(cli);
    json_t *all = node_report(path, argv + 1);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    return CLI_OK;
}

int
cluster_node(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"report", "What this node has and does, as JSON", report},
        {"config", "stage, commit, rollback, finish: this node's side of push-config",
         cluster_node_config},
        {"milter", "enable, disable, check: Postern in this node's Postfix", cluster_node_milter},
        {"peers", "show, set, drop: the key by which the nodes give each other signatures",
         cluster_node_peers},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster remove */
#include "cluster-commands.h"

int
cluster_remove(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Takes the scanner out of the mail group.", &argc, &argv)) {
        return CLI_ERROR;
    }
    return cli_fail("no cluster is reached");
}

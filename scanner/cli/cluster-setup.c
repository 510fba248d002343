/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster setup */
#include "cluster-commands.h"

int
cluster_setup(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Puts the scanner into the running mail group.", &argc,
                     &argv)) {
        return CLI_ERROR;
    }
    return cli_fail("no cluster is reached");
}

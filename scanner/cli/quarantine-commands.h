/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef QUARANTINE_COMMANDS_H
#define QUARANTINE_COMMANDS_H

/* The commands below `postern quarantine`; each as in cli.h. */

#include <jansson.h>

#include "cli.h"

int cli_quarantine_release(struct cli *cli, int argc, char **argv);
int cli_quarantine_delete(struct cli *cli, int argc, char **argv);
int cli_quarantine_export(struct cli *cli, int argc, char **argv);

/*
 * Asks for one entry; with RET_FD for the kept file too (-1 when it was not handed out). Returns
 * the answer (a new reference), or NULL after a message to the user.
 */
json_t *quarantine_ask(struct cli *cli, const char *key, int *ret_fd);

#endif

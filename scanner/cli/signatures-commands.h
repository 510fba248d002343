/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SIGNATURES_COMMANDS_H
#define SIGNATURES_COMMANDS_H

/* The commands of `postern signatures`, and what they share. */

#include <jansson.h>

#include "cli.h"
#include "store.h"

/* As store_open(), of the settings; waits up to half a minute for another process's change. */
int signatures_open(const struct settings *settings, gboolean change, struct store **ret,
                    char **error_r);
/* Opens the store of the settings; NULL after a message. An absent one is opened for a change only.
 */
struct store *signatures_store(struct cli *cli, gboolean change);
/* An entry as JSON: what `list` and `show` print. */
json_t *signatures_json(const struct store_entry *entry);
void signatures_print(json_t *object);
/* The latest of LIST that was rejected since the current one was adopted; NULL: none. */
const struct store_entry *signatures_rejected(GPtrArray *list);
/* The engine's status, a new reference; NULL when it does not answer. */
json_t *signatures_engine(struct cli *cli);

int signatures_list(struct cli *cli, int argc, char **argv);
int signatures_show(struct cli *cli, int argc, char **argv);
int signatures_status(struct cli *cli, int argc, char **argv);
int signatures_update(struct cli *cli, int argc, char **argv);
int signatures_adopt(struct cli *cli, int argc, char **argv);
int signatures_rollback(struct cli *cli, int argc, char **argv);
int signatures_add(struct cli *cli, int argc, char **argv);

#endif

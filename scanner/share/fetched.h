/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FETCHED_H
#define FETCHED_H

/* A generation of another node, brought to share_dir/offer. */

#include "call.h"
#include "settings.h"

/* Whether this node needs nothing of NAME any more: its record or files are here, or it is offered
 * already. */
gboolean fetched_is_here(const struct settings *settings, const char *name);

/*
 * Brings NAME from NODE. Returns 0; -ESTALE: it is older than what is in use here; -EFBIG: larger
 * than update_size; -ENOSPC; -EBADMSG: it is not what it says; or as caller_call(); with one
 * sentence and the old offer in place.
 */
int fetched_bring(const struct settings *settings, struct caller *caller,
                  const struct peer_node *node, const char *name, char **error_r);

#endif

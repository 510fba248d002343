/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PEER_H
#define PEER_H

/* What the other nodes say of themselves: for require_ready=true and for a loss that counts
 * (score.h). */

#include <stdbool.h>

/*
 * Whether a node other than NODE has the promotion score of a ready engine for RESOURCE. When
 * pacemaker-attrd does not answer *RET is false: then nothing is known that would keep a node from
 * being promoted. Returns 0, or -errno with one sentence in *ERROR_R (g_free).
 */
int peer_is_ready(const char *resource, const char *node, bool *ret, char **error_r);

/* The same of the answer TEXT of attrd_updater: lines with host="..." and value="...". Pure. */
bool peer_parse(const char *text, const char *node);

#endif

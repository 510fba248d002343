/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ROUND_H
#define ROUND_H

/* One round: every source once, then the offer, then status.json. */

#include <jansson.h>

#include "settings.h"

/* Told of each source when it is done, and at last of the round (then "sources" is in it). */
typedef void round_event(json_t *event, void *data);

/*
 * CONFIG is what postern-fetch is told to read. Returns 0: the round took place, its result is in
 * status.json; -EBUSY: another one is under way; or -errno; with one sentence.
 */
int round_run(const struct settings *settings, const char *config, round_event *event, void *data,
              char **error_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NODE_STATE_H
#define NODE_STATE_H

/*
 * What a node says of itself to the one that gives the generations:
 *
 *   {"postern":VERSION, "engine":WORD, "loaded":NAME or null, "current":NAME or null,
 *    "time":SECONDS, "pinned":NAME or null, "error":TEXT or null,
 *    "given":{"name":NAME, "state":WORD, "reason":TEXT or null, "interrupted":B} or null}
 *
 * `engine` and `loaded` are of the engine's state file: what is in memory; `time` is that of the
 * current set. `given` is what became here of the generation that is given: a state of record.h, or
 * "none" (not here), or "received" (here, and not taken yet). `interrupted`: its trials here did
 * not come to an end (RECORD_TRIALS_MAX), as when they take the machine down.
 */

#include <jansson.h>

#include "settings.h"

/* `engine` where it does not run: it takes its state file away when it ends in good order. */
#define NODE_STATE_STOPPED "none"

/* Whether NAME (NULL: no) is a generation's. */
gboolean node_state_is_name(const char *name);

/* A new reference. GIVEN: the generation that is given; NULL: none is known of. ERROR: what keeps
 * this node from taking it; NULL: nothing. */
json_t *node_state_of(const struct settings *settings, const char *given, const char *error);

/* The same of another node, as it came: only what is said above, texts made short. A new
 * reference; NULL: it is none. */
json_t *node_state_clean(const json_t *state);

/* The name of the generation in share_dir/offer, NULL: none. To be freed by g_free(). */
char *node_state_received(const struct settings *settings);

#endif

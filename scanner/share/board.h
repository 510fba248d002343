/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BOARD_H
#define BOARD_H

/*
 * What this node knows of all others: share_dir/state/status.json, replaced whenever somebody was
 * heard.
 *
 *   {"version":1, "self":NODE, "role":"gives" or "takes", "from":NODE or null,
 *    "gives":NAME or null, "given":S, "held":S, "error":TEXT or null, "boot":T, "since":S, "at":S,
 *    "nodes":[{"name":NODE, "silent":SECONDS, "adopted":NAME or null, "confirmed":NAME or null,
 *              "state":{...} (node-state.h)}]}
 *
 * `gives` is the generation that the cluster is to have, given here or by `from`, since `given`.
 * `held`: since when this node gives something that it does not use itself, be it one after the
 * other; 0: it uses what it gives. `given`, `held`, `since` and `at` (since when postern-share has
 * this role; when this was written) are
 * seconds since boot, so setting the clock changes nothing. `adopted`: the node's engine works with
 * that generation; `confirmed`: it still did a while later. `boot`: when that was, in Unix seconds.
 *
 * It outlives restarts and roles: a node that began with a generation and was never heard of again
 * is a reason to leave that alone, whoever is active by then.
 */

#include <jansson.h>

#include "peers.h"
#include "settings.h"

#define BOARD_DIR "state"

struct board;

/* Reads what is there of an earlier one. ROLE is "gives" or "takes". */
struct board *board_new(const struct settings *settings, const struct peers *peers,
                        const char *role);
void board_free(struct board *board);
typedef struct board board_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(board_t, board_free)

/* Seconds since boot. */
gint64 board_now(void);

/* The generation that the cluster is to have; NULL: none. FROM: who gives it, NULL: this node. */
void board_set_given(struct board *board, const char *name, const char *from);
/* Whether this node gives what it does not use itself. */
void board_set_held(struct board *board, gboolean is_held);
/* Borrowed, or NULL. */
const char *board_given(const struct board *board);
/* What goes wrong here; NULL: nothing. */
void board_set_error(struct board *board, const char *error);

/* NODE has said STATE (borrowed) at NOW. Who is none of the peers is ignored. */
void board_hear(struct board *board, const char *node, const json_t *state, gint64 now);
/* NODE is there at NOW, whatever it does. */
void board_touch(struct board *board, const char *node, gint64 now);
/* What another node knows: `nodes` as above. This node's own entry in it is ignored. */
void board_learn(struct board *board, const json_t *nodes, gint64 now);

/* As in the file; a new reference. */
json_t *board_nodes(const struct board *board, gint64 now);
/* Writes the file; durably when more than the time has changed, for what is known of the nodes is
 * to outlive a power cut. Returns 0 or -errno. */
int board_write(struct board *board, gint64 now);

/* The file below share_dir, whoever wrote it: at most 1 MB. A new reference; NULL: none. */
json_t *board_load(const struct settings *settings);
/* Whether STATUS was written during this boot, and how many seconds ago; else -1. */
gint64 board_age(const json_t *status, gint64 now);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GIVE_H
#define GIVE_H

/*
 * The active node's side: HTTP on share_port of this node's addresses in the peers' network.
 *
 *   POST /1/turn         the caller's state (node-state.h); answered with {"version":1,
 *                        "node":NODE, "gives":NAME or null, "state":{...}, "nodes":[...]}
 *                        (board.h)
 *   GET /1/NAME/FILE     manifest.json or a file of a generation that is whole and not rejected
 *
 * Who is not at a peer's address is not heard at all, who has not sealed his request (seal.h) gets
 * 401, and who has not within five seconds is closed (guests.h). A connection ends after 30 s of
 * silence; a request's body may have 64 KB. Bodies are sealed by their hash, of a file by that of
 * the manifest.
 *
 * What is given: the pinned generation, else the one that came here last and was not rejected.
 */

#include "peers.h"
#include "settings.h"

#define GIVE_TURN "/1/turn"
#define GIVE_BODY_MAX 65536

/* Serves for ever, in a process that does nothing else. Returns -errno with one sentence. */
int give_run(const struct settings *settings, const struct peers *peers, char **error_r);

#endif

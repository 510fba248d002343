/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CALL_H
#define CALL_H

/*
 * One request to another node, and its answer: HTTP by libcurl, sealed both ways (seal.h). Nothing
 * of the answer is given out unless its seal is right and its body has the hash that the seal says.
 *
 * The other end may be anybody: it may hang, send without end, send headers without end, redirect,
 * compress, or say a wrong size. A call ends after its time, after 20 s with less than 1 KB/s, and
 * with the first byte too many. Redirects, proxies and compression are not followed.
 */

#include <glib.h>

#include "peers.h"

struct caller;

struct caller *caller_new(const struct peers *peers, guint16 port);
void caller_free(struct caller *caller);
typedef struct caller caller_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(caller_t, caller_free)

struct call {
    const char *method; /* GET or POST */
    const char *path;
    const char *body; /* of a POST */
    guint64 limit;    /* most bytes of the answer's body */
    guint64 seconds;
    int fd; /* where the body goes; -1: to *TEXT_R */
};

/*
 * Asks NODE, at one of its addresses after the other until one answers. Returns the HTTP status
 * (200, 404, ...), or with one sentence
 *   -ENOTCONN   nobody listens there: a passive node does not
 *   -ETIMEDOUT, -EFBIG (a longer body than LIMIT), -EPROTO (anything else that HTTP does not know)
 *   -EACCES     the seal is missing or wrong, or ours was not taken: other keys
 *   -EBADMSG    the body is not what its seal says
 *   -errno      the body cannot be written
 * DIGEST_R is the SHA-256 of the body; *TEXT_R (g_free) is set when FD is -1 and the result is not
 * below 0.
 */
int caller_call(struct caller *caller, const struct peer_node *node, const struct call *call,
                char digest_r[65], char **text_r, char **error_r);

#endif

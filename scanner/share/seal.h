/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SEAL_H
#define SEAL_H

/*
 * How the nodes know each other's words: HMAC-SHA256 (RFC 2104) with a key of peers.h over each
 * request and each answer. Nothing is hidden by it; signatures are no secret.
 *
 * A request carries the header X-Postern-Seal with eight words:
 *
 *   1 KEY FROM TO OWN-NONCE THEIR-NONCE BODY-SHA256 MAC
 *
 * and its MAC is over "request", method, path and all words before it, with line feeds between. An
 * answer carries X-Postern-Seal with "1 BODY-SHA256 MAC", its MAC over "answer", status, the MAC of
 * the request and the hash of the body.
 *
 * THEIR-NONCE is the receiver's, from the header X-Postern-Nonce of an answer 401; it changes every
 * few minutes by a clock that cannot be set. So neither side needs the right time. OWN-NONCE is
 * random and taken once: a request is not heard twice, and an answer belongs to one request.
 */

#include <glib.h>

#include "peers.h"

#define SEAL_HEADER "X-Postern-Seal"
#define SEAL_NONCE_HEADER "X-Postern-Nonce"
#define SEAL_NONCE_DIGITS 32
#define SEAL_MAC_DIGITS 64

struct seal_request {
    char key[PEERS_ID_DIGITS + 1];
    char from[101];
    char to[101];
    char own[SEAL_NONCE_DIGITS + 1];
    char theirs[SEAL_NONCE_DIGITS + 1];
    char body[65]; /* SHA-256 of the body, also of an empty one */
    char mac[SEAL_MAC_DIGITS + 1];
};

/* A random nonce. */
void seal_nonce(char ret[SEAL_NONCE_DIGITS + 1]);
/* SHA-256 of BODY. */
void seal_digest(const void *body, size_t len, char ret[65]);

/*
 * Fills in OWN, BODY and MAC of REQUEST, whose FROM, TO and THEIRS the caller has set, and KEY.
 * Returns the header's value, to be freed by g_free().
 */
char *seal_request(struct seal_request *request, const struct peers_key *key, const char *method,
                   const char *path, const void *body, size_t len);
/*
 * Reads and checks the header's VALUE (NULL: it has none) of a request to this node, except the
 * nonces, and the body, which comes later. Returns 0 or -EACCES.
 */
int seal_request_check(const char *value, const struct peers *peers, const char *method,
                       const char *path, struct seal_request *ret);

/* The header's value for an answer to REQUEST; BODY is the body's SHA-256. To be freed by
 * g_free(). */
char *seal_answer(const struct seal_request *request, const struct peers_key *key, unsigned status,
                  const char *body);
/* The same at the other end: whether VALUE (NULL: none) is such a header. BODY_R becomes the hash
 * that the body must have. Returns 0 or -EACCES. */
int seal_answer_check(const char *value, const struct seal_request *request,
                      const struct peers_key *key, unsigned status, char body_r[65]);

/* Compares two texts in a time that does not depend on where they differ. */
gboolean seal_is_same(const char *one, const char *two);

#endif

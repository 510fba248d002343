/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CALLERS_H
#define CALLERS_H

/* No request is heard twice, nor one that was made long ago: the nonces of seal.h at the server. */

#include "seal.h"

/* A nonce is given out for so long and taken for twice as long, in seconds. */
#define CALLERS_PERIOD 300
/* Requests in one period; more of them are refused: no peer needs a tenth. */
#define CALLERS_MAX 20000

struct callers;

struct callers *callers_new(gint64 now);
void callers_free(struct callers *callers);

/* To be called now and then, with board_now(). */
void callers_age(struct callers *callers, gint64 now);
/* For the header SEAL_NONCE_HEADER. Borrowed, until callers_age(). */
const char *callers_nonce(const struct callers *callers);
/* Whether REQUEST, whose MAC is right, has a nonce of this node that still counts and one of its
 * own that was never seen, which is remembered. */
gboolean callers_admit(struct callers *callers, const struct seal_request *request);

#endif

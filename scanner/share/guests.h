/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GUESTS_H
#define GUESTS_H

/*
 * Who is connected to give.h. Anybody on a node may connect from its address, and only its
 * postern-share has the key: who has not shown it is a stranger. A stranger gets GUESTS_SECONDS for
 * that, however slowly he speaks, and of many strangers from one node the one that came first goes
 * when another one comes. So nobody keeps postern-share's place: that one shows the key with its
 * first packet.
 */

#include "peers.h"

#define GUESTS_STRANGERS 4 /* of one node */
#define GUESTS_KNOWN 4     /* the same */
#define GUESTS_SECONDS 5

struct guests;
struct guest;

struct guests *guests_new(void);
/* The guests are gone by then. */
void guests_free(struct guests *guests);

/* NODE is connected by the socket FD. NOW: microseconds of a clock that is never set. */
struct guest *guests_begin(struct guests *guests, const struct peer_node *node, int fd, gint64 now);
/* NULL is fine. */
void guests_end(struct guests *guests, struct guest *guest);

/* GUEST has shown the key. FALSE: too many of its node have, and are here. */
gboolean guests_know(struct guests *guests, struct guest *guest);
/* Whether anybody of NODE is here that has. */
gboolean guests_are_known(const struct guests *guests, const struct peer_node *node);

/* Hangs up on strangers whose time is over. */
void guests_expire(struct guests *guests, gint64 now);

#endif

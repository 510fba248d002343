/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LISTENER_H
#define LISTENER_H

#include <sys/socket.h>
#include <glib.h>

#include "peers.h"

/*
 * Listens on PORT of all addresses of this node, also of those that it does not have yet (a network
 * that comes later). Returns an array of int, or NULL with one sentence when one is taken.
 */
GArray *listeners_open(const struct peers *peers, guint16 port, char **error_r);
/* NULL is fine. */
void listeners_close(GArray *listeners);

/* A descriptor that does not block, or -errno. */
int listener_accept(int listener, struct sockaddr_storage *address, socklen_t *length);

#endif

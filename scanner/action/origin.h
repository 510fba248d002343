/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ORIGIN_H
#define ORIGIN_H

/*
 * In whose name the quarantine is filled: what a quota counts (docs/DECISIONS/0007).
 *
 *   user:NAME      a SASL user
 *   net:ADDRESS    the client's IPv4 address, or its IPv6 network of 64 bits
 *   from:SENDER    a client that says nothing: loopback, a unix socket, unknown
 */

#include "envelope.h"

/* Freed by g_free(). */
char *origin_of(const struct envelope *envelope);

#endif

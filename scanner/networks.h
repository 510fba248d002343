/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NETWORKS_H
#define NETWORKS_H

/*
 * Lists of IP networks as the configuration has them: "192.0.2.0/24", "2001:db8::/32", a single
 * address, and the words "loopback" (127.0.0.0/8 and ::1) and "none" (a list that is empty).
 */

#include <stdbool.h>

/* Returns NULL when TEXT is such a network, else what is wrong with it (static). */
const char *network_wrong(const char *text);

/*
 * ADDRESS is in one of NETWORKS (ends with NULL). "IPv6:2001:db8::1" (RFC 5321 4.1.3, as MTAs say
 * it) is the same as "2001:db8::1", and an IPv4 address that IPv6 carries (::ffff:192.0.2.1) the
 * same as the plain one. What is no address, or NULL, is in none.
 */
bool networks_have(char *const *networks, const char *address);

struct addrinfo;

/*
 * Where to listen: "192.0.2.1:10025", "[::1]:10025"; numbers alone, nothing is asked of the DNS.
 * Returns NULL when TEXT is no such address; freeaddrinfo().
 */
struct addrinfo *network_endpoint(const char *text);

#endif

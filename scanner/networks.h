/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NETWORKS_H
#define NETWORKS_H

/*
 * Lists of IP networks as the configuration has them: "192.0.2.0/24", "2001:db8::/32", a single
 * address, and the words "loopback" (127.0.0.0/8 and ::1) and "none" (a list that is empty).
 */

#include <stdbool.h>
#include <netinet/in.h>

/* Returns NULL when TEXT is such a network, else what is wrong with it (static). */
const char *network_wrong(const char *text);

/*
 * An address as IPv6. "IPv6:2001:db8::1" (RFC 5321 4.1.3, as MTAs say it) is the same as
 * "2001:db8::1", and "192.0.2.1" the same as the one that IPv6 carries (::ffff:192.0.2.1). Returns
 * false when TEXT is none.
 */
bool network_address(const char *text, struct in6_addr *ret);

/*
 * ADDRESS, as network_address() reads it, is in one of NETWORKS (ends with NULL). What is no
 * address, or NULL, is in none.
 */
bool networks_have(char *const *networks, const char *address);

struct addrinfo;

/*
 * Where to listen: "192.0.2.1:10025", "[::1]:10025"; numbers alone, nothing is asked of the DNS.
 * Returns NULL when TEXT is no such address; freeaddrinfo().
 */
struct addrinfo *network_endpoint(const char *text);

#endif

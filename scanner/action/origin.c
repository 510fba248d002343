/* SPDX-License-Identifier: GPL-2.0-only */
#include "origin.h"

#include <arpa/inet.h>
#include <string.h>

#include "networks.h"

#define TEXT_MAX 256

/* One customer has at least 64 bits of IPv6 to choose an address from. */
static char *
network_of_6(struct in6_addr *address)
{
    char text[INET6_ADDRSTRLEN];
    if (IN6_IS_ADDR_LOOPBACK(address)) {
        return NULL;
    }
    memset(address->s6_addr + 8, 0, 8);
    return g_strconcat("net:", inet_ntop(AF_INET6, address, text, sizeof text), "/64", NULL);
}

/* Returns NULL for loopback, behind which is a relay of this machine, and for no address. */
static char *
network_of(const char *client)
{
    struct in6_addr address;
    char text[INET_ADDRSTRLEN];
    if (!network_address(client, &address)) {
        return NULL;
    }
    if (!IN6_IS_ADDR_V4MAPPED(&address)) {
        return network_of_6(&address);
    }
    const guint8 *four = address.s6_addr + 12;
    return four[0] == IN_LOOPBACKNET
               ? NULL
               : g_strconcat("net:", inet_ntop(AF_INET, four, text, sizeof text), NULL);
}

static char *
name_of(const char *prefix, const char *text)
{
    g_autofree char *cut = g_strndup(text, TEXT_MAX);
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    g_autofree char *low = g_ascii_strdown(valid, -1);
    return g_strconcat(prefix, low, NULL);
}

char *
origin_of(const struct envelope *envelope)
{
    char *network = NULL;
    if (envelope->auth_user != NULL && *envelope->auth_user != '\0') {
        return name_of("user:", envelope->auth_user);
    }
    if (envelope->client_addr != NULL) {
        network = network_of(envelope->client_addr);
    }
    return network != NULL ? network : name_of("from:", envelope->sender);
}

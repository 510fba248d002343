/* SPDX-License-Identifier: GPL-2.0-only */
#include "origin.h"

#include <arpa/inet.h>
#include <string.h>

#define TEXT_MAX 256

/* Returns NULL for loopback: behind it is a relay of this machine. */
static char *
network_of_4(const struct in_addr *address)
{
    char text[INET_ADDRSTRLEN];
    if ((ntohl(address->s_addr) >> 24) == 127) {
        return NULL;
    }
    return g_strconcat("net:", inet_ntop(AF_INET, address, text, sizeof text), NULL);
}

/* One customer has at least 64 bits of IPv6 to choose an address from. */
static char *
network_of_6(struct in6_addr *address)
{
    char text[INET6_ADDRSTRLEN];
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        struct in_addr mapped;
        memcpy(&mapped, address->s6_addr + 12, sizeof mapped);
        return network_of_4(&mapped);
    }
    if (IN6_IS_ADDR_LOOPBACK(address)) {
        return NULL;
    }
    memset(address->s6_addr + 8, 0, 8);
    return g_strconcat("net:", inet_ntop(AF_INET6, address, text, sizeof text), "/64", NULL);
}

static char *
network_of(const char *client)
{
    static const char prefix[] = "IPv6:";
    struct in_addr four;
    struct in6_addr six;
    if (g_ascii_strncasecmp(client, prefix, sizeof prefix - 1) == 0) {
        client += sizeof prefix - 1;
    }
    if (inet_pton(AF_INET, client, &four) == 1) {
        return network_of_4(&four);
    }
    return inet_pton(AF_INET6, client, &six) == 1 ? network_of_6(&six) : NULL;
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

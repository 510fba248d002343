/* SPDX-License-Identifier: GPL-2.0-only */
#include "networks.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <glib.h>

#define V4_PREFIX 96U /* bits before an IPv4 address in IPv6: ::ffff:0:0/96, RFC 4291 2.5.5.2 */
#define ADDRESS_TEXT_MAX 64U

/* All addresses as IPv6: one comparison. */
struct network {
    struct in6_addr address;
    unsigned bits;
};

static bool
address_parse(const char *text, struct in6_addr *ret, bool *ret_v4)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        *ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(ret->s6_addr + V4_PREFIX / 8, &v4, sizeof v4);
        *ret_v4 = true;
        return true;
    }
    *ret_v4 = false;
    return inet_pton(AF_INET6, text, ret) == 1;
}

static bool
bits_equal(const struct in6_addr *a, const struct in6_addr *b, unsigned bits)
{
    unsigned rest = bits % 8;
    if (memcmp(a->s6_addr, b->s6_addr, bits / 8) != 0) {
        return false;
    }
    return rest == 0 || ((a->s6_addr[bits / 8] ^ b->s6_addr[bits / 8]) >> (8 - rest)) == 0;
}

static const char *
network_parse(const char *text, struct network *ret)
{
    static const struct in6_addr zero;
    char address[ADDRESS_TEXT_MAX];
    const char *slash = strchr(text, '/');
    gsize len = slash == NULL ? strlen(text) : (gsize)(slash - text);
    guint64 bits = 0;
    bool v4;
    if (len >= sizeof address) {
        return "must be ADDRESS or ADDRESS/BITS";
    }
    memcpy(address, text, len);
    address[len] = '\0';
    if (!address_parse(address, &ret->address, &v4)) {
        return "must be ADDRESS or ADDRESS/BITS";
    }
    if (slash == NULL) {
        ret->bits = 128;
        return NULL;
    }
    if (!g_ascii_string_to_unsigned(slash + 1, 10, 0, v4 ? 32 : 128, &bits, NULL)) {
        return v4 ? "after the / must be 0 to 32" : "after the / must be 0 to 128";
    }
    ret->bits = (unsigned)bits + (v4 ? V4_PREFIX : 0);
    struct in6_addr host = ret->address;
    for (unsigned bit = 0; bit < ret->bits; bit++) {
        host.s6_addr[bit / 8] &= (guint8) ~(0x80U >> bit % 8);
    }
    return bits_equal(&host, &zero, 128) ? NULL : "has bits set after its network part";
}

const char *
network_wrong(const char *text)
{
    struct network network;
    if (strcmp(text, "loopback") == 0 || strcmp(text, "none") == 0) {
        return NULL;
    }
    return network_parse(text, &network);
}

static bool
network_has(const char *text, const struct in6_addr *address)
{
    struct network network;
    if (strcmp(text, "loopback") == 0) {
        return network_has("127.0.0.0/8", address) || network_has("::1", address);
    }
    return network_parse(text, &network) == NULL &&
           bits_equal(&network.address, address, network.bits);
}

bool
network_address(const char *text, struct in6_addr *ret)
{
    static const char prefix[] = "IPv6:";
    bool v4;
    if (g_ascii_strncasecmp(text, prefix, strlen(prefix)) == 0) {
        text += strlen(prefix);
    }
    return address_parse(text, ret, &v4);
}

bool
networks_have(char *const *networks, const char *address)
{
    struct in6_addr parsed;
    if (address == NULL || networks == NULL || !network_address(address, &parsed)) {
        return false;
    }
    for (; *networks != NULL; networks++) {
        if (network_has(*networks, &parsed)) {
            return true;
        }
    }
    return false;
}

struct addrinfo *
network_endpoint(const char *text)
{
    const char *colon = strrchr(text, ':');
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    /* getaddrinfo() would take a port of any size and cut it. */
    if (colon == NULL || !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, NULL, NULL)) {
        return NULL;
    }
    g_autofree char *host = g_strndup(text, (gsize)(colon - text));
    gsize len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        memmove(host, host + 1, len - 1);
    }
    if (*host == '\0' || getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        return NULL;
    }
    return found;
}

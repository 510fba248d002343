/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-peer.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <glib.h>

#include "packet.h"

char *
clamd_peer_name(int fd, bool *ret_is_root)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    struct packet_peer peer;
    char text[INET6_ADDRSTRLEN] = "?";
    *ret_is_root = false;
    (void)getpeername(fd, (struct sockaddr *)&addr, &len);
    if (addr.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((struct sockaddr_in *)&addr)->sin_addr, text, sizeof text);
    } else if (addr.ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&addr)->sin6_addr, text, sizeof text);
    } else if (packet_peer(fd, &peer) == 0) {
        *ret_is_root = peer.uid == 0;
        return g_strdup_printf("uid %u, pid %d", (unsigned)peer.uid, (int)peer.pid);
    }
    return g_strdup(text);
}

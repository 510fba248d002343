/* SPDX-License-Identifier: GPL-2.0-only */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#define BACKLOG 16

static socklen_t
address_of(const char *text, guint16 port, struct sockaddr_storage *ret)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)ret;
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)ret;
    *ret = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        return sizeof *six;
    }
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return inet_pton(AF_INET, text, &four->sin_addr) == 1 ? sizeof *four : 0;
}

static int
listener_open(const char *text, guint16 port)
{
    struct sockaddr_storage address;
    const int on = 1;
    socklen_t length = address_of(text, port, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.ss_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    } else {
        (void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
    }
    if (bind(fd, (const struct sockaddr *)(const void *)&address, length) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

GArray *
listeners_open(const struct peers *peers, guint16 port, char **error_r)
{
    GArray *listeners = g_array_new(FALSE, FALSE, sizeof(int));
    for (char **text = peers_find(peers, peers->self)->addresses; *text != NULL; text++) {
        int fd = listener_open(*text, port);
        if (fd < 0) {
            *error_r =
                g_strdup_printf("%s, port %u (share_port): %s", *text, port, g_strerror(-fd));
            listeners_close(listeners);
            return NULL;
        }
        g_array_append_val(listeners, fd);
    }
    return listeners;
}

void
listeners_close(GArray *listeners)
{
    for (guint i = 0; listeners != NULL && i < listeners->len; i++) {
        close(g_array_index(listeners, int, i));
    }
    g_clear_pointer(&listeners, g_array_unref);
}

int
listener_accept(int listener, struct sockaddr_storage *address, socklen_t *length)
{
    int fd =
        accept4(listener, (struct sockaddr *)(void *)address, length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

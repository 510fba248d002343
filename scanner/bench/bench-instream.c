/* SPDX-License-Identifier: GPL-2.0-only */
#include "bench-instream.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK 65536

bool
bench_write_all(int sock, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(sock, at, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static int
connect_unix(const char *path, unsigned wait_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval wait = {.tv_sec = wait_s};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (sock < 0) {
        return -1;
    }
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(sock, (const struct sockaddr *)&address, sizeof address) < 0) {
        close(sock);
        return -1;
    }
    return sock;
}

/* In pieces, as the clients of clamd do. */
static bool
send_pieces(int sock, const unsigned char *data, size_t size)
{
    static const char command[] = "zINSTREAM";
    const uint32_t end = 0;
    bool ok = bench_write_all(sock, command, sizeof command);
    for (size_t at = 0; ok && at < size; at += CHUNK) {
        size_t len = size - at < CHUNK ? size - at : CHUNK;
        uint32_t head = htonl((uint32_t)len);
        ok = bench_write_all(sock, &head, sizeof head) && bench_write_all(sock, data + at, len);
    }
    return ok && bench_write_all(sock, &end, sizeof end);
}

/* Whoever refuses does not read to the end, but may have said why before it closed. */
bool
bench_instream(const char *path, const unsigned char *data, size_t size, unsigned wait_s,
               char answer[INSTREAM_ANSWER_MAX])
{
    int sock = connect_unix(path, wait_s);
    if (sock < 0) {
        snprintf(answer, INSTREAM_ANSWER_MAX, "no connection");
        return false;
    }
    bool is_sent = send_pieces(sock, data, size);
    ssize_t got = recv(sock, answer, INSTREAM_ANSWER_MAX - 1, MSG_WAITALL);
    close(sock);
    if (got <= 0) {
        snprintf(answer, INSTREAM_ANSWER_MAX, is_sent ? "no answer" : "closed");
        return false;
    }
    answer[got] = '\0';
    return true;
}

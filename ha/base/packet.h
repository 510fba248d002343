/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PACKET_H
#define PACKET_H

/*
 * JSON objects, each with at most one file descriptor, over unix SOCK_SEQPACKET sockets: the one
 * form in which Postern's programs speak to each other. A packet is whole or absent, so there is
 * no framing to get wrong. What stands on which socket is written in docs/ARCHITECTURE.md.
 *
 * The peer may be hostile (a taken-over worker): a packet over PACKET_MAX, with more than one
 * descriptor, or that is not one JSON object, is -EBADMSG and the connection is to be closed.
 */

#include <stdbool.h>
#include <sys/types.h>
#include <jansson.h>

#define PACKET_MAX (128U * 1024U)

struct packet_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/*
 * Sends OBJECT (borrowed) with FD (borrowed; -1 = none). Never raises SIGPIPE. Returns 0 or
 * -errno: -EAGAIN (peer does not read and the socket is non-blocking), -EMSGSIZE (over
 * PACKET_MAX), -EPIPE.
 */
int packet_send(int sock, const json_t *object, int fd);

/*
 * Receives one packet. Returns 1 with *RET_OBJECT (to be json_decref'ed) and *RET_FD (owned by
 * the caller, close-on-exec; -1 = none came); 0 at end of file; -EAGAIN; -EBADMSG; other -errno.
 * RET_FD may be NULL: then a packet with a descriptor is -EBADMSG.
 */
int packet_receive(int sock, json_t **ret_object, int *ret_fd);

/*
 * Connects to the unix socket at PATH (a SOCK_SEQPACKET listener), close-on-exec and blocking.
 * Returns the socket or -errno (-ENAMETOOLONG when PATH does not fit).
 */
int packet_connect(const char *path);

/*
 * Listens at PATH with MODE, non-blocking. A socket file that nobody listens on any more is
 * removed; one that answers gives -EADDRINUSE. Returns the socket or -errno.
 */
int packet_listen(const char *path, unsigned mode);

/* A connected pair, both close-on-exec. Returns 0 or -errno. */
int packet_pair(int ret_socks[2]);

/* Who is at the other end. Returns 0 or -errno. */
int packet_peer(int sock, struct packet_peer *ret_peer);

/*
 * For clients: sends REQUEST with FD, waits up to TIMEOUT_MS for one answer. Returns 1 or as
 * packet_receive(), -ETIMEDOUT included.
 */
int packet_call(int sock, const json_t *request, int fd, int timeout_ms, json_t **ret_answer,
                int *ret_fd);

#endif

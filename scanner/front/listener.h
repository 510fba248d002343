/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LISTENER_H
#define LISTENER_H

/*
 * A listening stream socket: "unix:/PATH" or "inet:ADDRESS:PORT" (an IPv6 address in brackets).
 *
 * A unix socket gets the mode 0660, or the one that is asked for, and the group of its directory,
 * where that has the set-group-ID bit (the way in which the MTA gets access: posternd itself may
 * give files to its own groups alone). Whoever listens holds a lock on PATH.lock for as long, so
 * that of two that start at once one gets the path and the other -EADDRINUSE. With the lock held a
 * socket file on which nobody answers is removed; one that answers belongs to another program and
 * is left alone.
 *
 * A socket that systemd has passed (sd_listen_fds(3)) is taken where its address is the one that
 * is asked for: what is served stays written in the configuration alone.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

struct listener;

/* A new connection; FD (non-blocking, close-on-exec) belongs to the callee. */
typedef void listener_accept(void *data, int fd);

struct listener_options {
    const char *setting; /* the name of the setting, for the sentences */
    const char *address;
    unsigned mode; /* of a unix socket; 0 = 0660 */
};

/*
 * Listens and accepts in the event loop; while descriptors or memory are short it pauses, so that
 * it does not spin. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int listener_open(sd_event *event, const struct listener_options *options,
                  listener_accept *accepted, void *data, struct listener **ret, char **error_r);
/* Closes, and removes the unix socket that it has made. NULL is fine. */
void listener_free(struct listener *listener);

/*
 * Takes over the sockets that systemd has passed; once, at the start. Returns how many, or -errno
 * with a sentence. Those that no listener has taken when listener_passed_close() is called are
 * closed; it returns the address of the first of them (g_free()), NULL when there was none.
 */
int listener_passed_open(char **error_r);
char *listener_passed_close(void);

/* Others than this machine's own processes can reach it: neither a unix socket nor loopback. */
bool listener_is_public(const struct listener *listener);
/* As it was given. */
const char *listener_address(const struct listener *listener);
/* The port that a listener with port 0 was given; 0 for a unix socket. */
unsigned listener_port(const struct listener *listener);

#endif

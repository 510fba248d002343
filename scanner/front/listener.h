/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LISTENER_H
#define LISTENER_H

/*
 * A listening stream socket: "unix:/PATH" or "inet:ADDRESS:PORT" (an IPv6 address in brackets).
 *
 * A unix socket gets mode 0660 and the group of its directory, where that has the set-group-ID
 * bit (the way in which the MTA gets access). A socket file on which nobody answers is removed;
 * one that answers is left alone.
 */

#include <systemd/sd-event.h>

struct listener;

/* A new connection; FD (non-blocking, close-on-exec) belongs to the callee. */
typedef void listener_accept(void *data, int fd);

/*
 * Listens and accepts in the event loop; while descriptors or memory are short it pauses, so that
 * it does not spin. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int listener_new(sd_event *event, const char *address, listener_accept *accepted, void *data,
                 struct listener **ret, char **error_r);
/* Closes, and removes its unix socket. NULL is fine. */
void listener_free(struct listener *listener);

/* As it was given. */
const char *listener_address(const struct listener *listener);
/* The port that a listener with port 0 was given; 0 for a unix socket. */
unsigned listener_port(const struct listener *listener);

#endif

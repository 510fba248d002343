/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SMTP_PROBE_H
#define SMTP_PROBE_H

/*
 * One attempt to hand a small message to a mail server by SMTP over TCP (RFC 5321), without ever
 * waiting: any number of them run in one event loop. Each ends with one of these, once.
 */

#include <sys/socket.h>
#include <glib.h>
#include <systemd/sd-event.h>

enum probe_end {
    PROBE_ACCEPTED,   /* 250 after the message: it is the server's now */
    PROBE_REFUSED,    /* 5xx after the message: a verdict on it */
    PROBE_UNWANTED,   /* 5xx before the message: the address or the client is not wanted */
    PROBE_LATER,      /* 4xx at any time */
    PROBE_NO_CONTACT, /* no connection: refused, no route, no answer in time */
    PROBE_BROKEN,     /* the connection ended, or said no SMTP, before the message was sent */
    PROBE_UNCERTAIN,  /* the whole message was sent and no answer came: the server may have it */
    PROBE_ENDS,
};

/* "accepted", "refused", ...: for --json and tables. */
const char *probe_end_name(enum probe_end end);

struct probe_message {
    const struct sockaddr_storage *server;
    const char *sender; /* without <> */
    const char *recipient;
    const char *text; /* lines end with CRLF, none begins with a dot */
};

struct smtp_probe;

/* The last call for a probe, which is freed after it. TEXT is what the server said, or the error.
 */
typedef void smtp_probe_done(struct smtp_probe *probe, enum probe_end end, int code,
                             const char *text, void *data);

/* Milliseconds: for a connection; for each answer; for the answer after the message. */
#define PROBE_CONNECT_MS 3000
#define PROBE_ANSWER_MS 20000
#define PROBE_VERDICT_MS 60000

/* Begins. MESSAGE is copied. Returns 0, or -errno (no descriptor left): then DONE is never called.
 */
int smtp_probe_start(sd_event *event, const struct probe_message *message, smtp_probe_done *done,
                     void *data, struct smtp_probe **probe_r);

/* Ends it without calling its function. NULL is fine. */
void smtp_probe_free(struct smtp_probe *probe);

#endif

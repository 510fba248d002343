/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SMTP_H
#define SMTP_H

/*
 * Hands one message to the mail server over a unix socket, by SMTP (RFC 5321, 6152, 6531, 3461).
 * It
 * blocks, in a thread of its own, and keeps nothing of the message in memory.
 *
 * All or nothing: when one recipient is refused the message is not sent to the others, so that a
 * repetition never reaches anybody twice.
 */

#include <sys/types.h>
#include <glib.h>

enum smtp_outcome {
    SMTP_ACCEPTED,  /* 250 after the message: it is the server's now */
    SMTP_REFUSED,   /* for ever, 5xx; the server has nothing */
    SMTP_LATER,     /* for now: 4xx, nobody listens; the server has nothing */
    SMTP_UNCERTAIN, /* the whole message was sent and no answer came: it may have it */
};

struct smtp_message {
    const char *socket;              /* path */
    const char *sender;              /* without <>; "" is the null sender */
    GPtrArray *recipients;           /* of char *, without <> */
    const char *parameters;          /* of MAIL (esmtp.h); NULL = none */
    GPtrArray *recipient_parameters; /* of char * (NULL = none), beside RECIPIENTS; NULL = none */
    int fd;                          /* the message begins at FROM and ends with the file */
    off_t from;
    int cancel; /* becomes readable when there is no more time; -1 = never */
};

/* Seconds for an answer; for the one after the message RFC 5321 4.5.3.2.6 asks for ten minutes. */
#define SMTP_ANSWER_SECONDS 120
#define SMTP_END_SECONDS 600

/*
 * Parameters that the server does not understand are left out, but for SMTPUTF8: without it the
 * message is refused (RFC 6531 3.2).
 *
 * *RET_TEXT (g_free) is what the server said last, or what went wrong: one line, escaped. Line
 * ends become CRLF whatever they were, so nothing in a message can end it early.
 */
enum smtp_outcome smtp_deliver(const struct smtp_message *message, char **ret_text);

#endif

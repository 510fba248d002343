/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POSTFIX_LINE_H
#define POSTFIX_LINE_H

/*
 * What one line of Postfix's log says about one message, by the texts that Postfix 3.4 to 3.10
 * writes (smtpd, cleanup, qmgr, pickup, bounce, postsuper and the delivery agents).
 */

#include <glib.h>

#define QUEUE_ID_MAX 24

enum postfix_event {
    POSTFIX_NONE,     /* nothing of interest */
    POSTFIX_SESSION,  /* smtpd: a client connected */
    POSTFIX_TROUBLE,  /* warning: a milter could not be spoken to; value: the warning */
    POSTFIX_REFUSED,  /* a command was refused before there was a message */
    POSTFIX_RECEIVE,  /* smtpd: receives a message; value: the client */
    POSTFIX_LOCAL,    /* pickup: receives one of a program of this host; value: "uid=0 ..." */
    POSTFIX_ID,       /* cleanup; value: the Message-Id */
    POSTFIX_REJECT,   /* cleanup: refused at its end; value: the reason */
    POSTFIX_DISCARD,  /* cleanup: taken and thrown away as a milter wished */
    POSTFIX_HOLD,     /* put on hold */
    POSTFIX_QUEUED,   /* qmgr: it is Postfix's own from now on; value: the sender */
    POSTFIX_DELIVERY, /* of one recipient; value: "sent", "deferred", "bounced", "expired" */
    POSTFIX_NOTICE,   /* Postfix wrote a notice about it; child: its queue id */
    POSTFIX_REMOVED,  /* it left the queue */
    POSTFIX_DELETED,  /* somebody deleted it */
    POSTFIX_REQUEUED, /* postsuper -r: it comes in again by pickup, under a new queue id */
    POSTFIX_EVENTS,   /* how many there are */
};

struct postfix_line {
    enum postfix_event event;
    char queue_id[QUEUE_ID_MAX]; /* "" = none */
    char value[256];             /* cut when it is longer */
    gboolean temporary;          /* POSTFIX_REJECT, POSTFIX_REFUSED: 4xx */
    gboolean by_milter;          /* the same two */
    char parent[QUEUE_ID_MAX];   /* POSTFIX_LOCAL: queue id before postsuper -r, else "" */
    char child[QUEUE_ID_MAX];    /* queue id of what became of it, else "" */
};

/*
 * DAEMON is the last part of the line's tag ("smtpd"). Returns FALSE when nothing of interest is
 * said; *RET is then undefined.
 */
gboolean postfix_line_parse(const char *daemon, const char *text, struct postfix_line *ret);

/* TEXT begins with a queue id, short or long, and ": ": copies it, and returns what follows; or
 * NULL. */
const char *queue_id_parse(const char *text, char ret_id[QUEUE_ID_MAX]);

#endif

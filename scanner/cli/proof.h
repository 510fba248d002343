/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROOF_H
#define PROOF_H

/*
 * Joins the log of Postfix with Postern's own lines: what became of each message, and which verdict
 * it had. Fed line by line in the order of time; a message is reported once nothing more can be
 * said about it, so that only open messages are in memory.
 *
 * Queue ids return: a message is the same while it is open and its Message-Id fits. Lines of
 * different programs may come in another order than they happened, by some seconds.
 */

#include "maillog.h"
#include "postfix-line.h"

/* After its end a message is kept this long, for lines that come late (seconds of the log). */
#define PROOF_GRACE 300
/* A message that is not in the queue by then was given up by its client. */
#define PROOF_PATIENCE 7200

enum proof_state {
    PROOF_RECORDED,   /* Postern's line is there */
    PROOF_UNRECORDED, /* Postfix took it, and there is none */
    PROOF_CONTRARY,   /* Postern said that it must not be delivered, and Postfix took it */
    PROOF_INTERNAL,   /* Postfix wrote it itself: a bounce, a notice */
    PROOF_RELEASED,   /* it came in where released mail does */
    PROOF_EARLIER,    /* it came in before the log begins */
    PROOF_REFUSED,    /* Postfix did not take it: it is with its sender */
    PROOF_GIVEN_UP,   /* its client went away before its end */
};
#define PROOF_STATES (PROOF_GIVEN_UP + 1)

/* Why a message is unrecorded, as far as the log tells. */
enum proof_cause {
    PROOF_NO_CAUSE,
    PROOF_BYPASSED, /* Postfix said that it could not speak to a milter, and went on */
    PROOF_CRASH,    /* posternd started anew then: a crash took the line */
    PROOF_NOT_SEEN, /* nothing hints that Postern was asked at all */
};

enum proof_outcome {
    PROOF_QUEUED, /* not delivered yet */
    PROOF_DELIVERED,
    PROOF_DEFERRED,
    PROOF_BOUNCED,
    PROOF_HELD,
    PROOF_DISCARDED,
    PROOF_REQUEUED,
    PROOF_DELETED,
    PROOF_NOT_TAKEN,
};

/* One message; borrowed for the call. Texts are as the log has them: escape them. */
struct proof_message {
    enum proof_state state;
    enum proof_outcome outcome;
    enum proof_cause cause;
    gint64 time; /* Unix microseconds of its first line */
    const char *queue_id;
    const char *instance;   /* of Postfix: "postfix" */
    const char *message_id; /* NULL = unknown, as are the following */
    const char *from;
    const char *source;  /* client, or the local user */
    const char *service; /* tag of the smtpd */
    const char *verdict;
    const char *action;
    const char *parent; /* queue id of the message that it comes from and whose verdict counts */
    const char *hint;   /* Postfix's warning, for PROOF_BYPASSED */
};

typedef void proof_report(const struct proof_message *message, void *data);

struct proof;

/* RELEASE: part of the tag of the smtpd by which released mail comes in ("postern-release"). */
struct proof *proof_new(const char *release, proof_report *report, void *data);
void proof_add(struct proof *proof, const struct maillog_line *line);
/* Reports what is left, and frees it. */
void proof_end(struct proof *proof);

/* Commands that were refused before there was a message: temporarily and for good, by a milter. */
void proof_refusals(const struct proof *proof, guint64 *ret_temporary, guint64 *ret_lasting);

const char *proof_state_name(enum proof_state state);
const char *proof_outcome_name(enum proof_outcome outcome);
const char *proof_cause_name(enum proof_cause cause);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROOF_MESSAGE_H
#define PROOF_MESSAGE_H

/* One message, as far as the log has told of it; for proof.c. */

#include "proof.h"

/* So many messages can one come from: a filter behind a filter, an alias of an alias. */
#define PARENTS_MAX 16

struct message {
    guint refs;
    char id[QUEUE_ID_MAX];
    gint64 begin;
    gint64 queued; /* time of the first line of qmgr, 0 = none */
    gint64 closed; /* 0 = open */
    guint64 smtpd;
    guint64 cleanup;
    gboolean received; /* by smtpd */
    gboolean local;    /* by pickup */
    gboolean cleaned;
    gboolean rejected;
    gboolean internal;
    gboolean discarded;
    gboolean by_rule; /* discarded by Postfix's own rules */
    gboolean delivered;
    gboolean bounced;
    gboolean deferred;
    gboolean held;
    gboolean requeued;
    gboolean deleted;
    gboolean reported;
    char *instance;
    char *message_id;
    char *from;
    char *source;
    char *service;
    char *verdict;
    char *action;
    char *hint;
    struct message *parent; /* a reference */
    struct message *older;  /* with the same id; not a reference */
};

struct message *message_ref(struct message *message);
/* NULL is fine. */
void message_unref(struct message *message);

/* The one whose verdict counts: itself, or what it was before; NULL = none has a verdict. */
const struct message *message_judged(const struct message *message);
enum proof_outcome message_outcome(const struct message *message);
/* Postern said that nobody should get it. */
gboolean message_is_refused(const struct message *message);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MILTER_MESSAGE_H
#define MILTER_MESSAGE_H

/*
 * A message while it is received: its envelope and its spool. What goes wrong on the way is
 * remembered as a refusal, because the MTA listens only now and then; what comes after it is
 * counted and thrown away.
 */

#include <stdbool.h>

#include "envelope.h"
#include "milter-codec.h"
#include "spool.h"
#include "transaction.h"

/* Our header, which says the verdict; it and the others of ours are deleted where they were. */
#define MILTER_HEADER "X-Postern"
/* X-Postern, -Reason, -Action, -Key: how many of each a message has. */
#define MILTER_HEADERS 4
struct milter_marks {
    guint count[MILTER_HEADERS];
};
/* Reserved in the budget at MAIL, when the client does not say more by SIZE=. */
#define MILTER_SMALL_MESSAGE 65536U
/*
 * Larger ones leave a quarter of the budget alone: a client can hold what it has declared for as
 * long as the MTA waits for its content, and a few of them must not stop all mail.
 */
#define MILTER_LARGE_MESSAGE 1048576U
/* Taken besides, while a message is received: a body chunk in parts, header lines being gathered.
 */
#define MILTER_BUFFERS 131072U

/* Why a message is not taken, whatever is in it. */
struct refusal {
    const char *reply;  /* SMTP, with its code */
    const char *reason; /* for the log */
    size_t counter;     /* the one it counts in: an offset in struct counters */
};

struct milter_message {
    struct envelope *envelope;
    struct spool_budget *budget;
    struct spool *spool; /* NULL when refused */
    guint64 buffers;     /* taken from the budget for the connection */
    const struct refusal *refusal;
    guint64 size;              /* bytes received, refused or not */
    struct milter_marks marks; /* headers that have our names */
    gsize recipient_bytes;
};

/*
 * Begins with the envelope's sender and connection (taken over) and the size that the client
 * declares (0 = none). Refused at once when nothing can be scanned or held now; else what is
 * declared is reserved.
 */
struct milter_message *milter_message_new(struct transaction_services *services,
                                          struct spool_budget *budget, guint64 size_limit,
                                          struct envelope *envelope, guint64 declared_size);
void milter_message_free(struct milter_message *message);

/*
 * PARAMETERS (taken over): as esmtp_add() made them, NULL = none. Returns NULL, or why this one is
 * not taken (too many, no memory).
 */
const struct refusal *milter_message_add_recipient(struct milter_message *message,
                                                   const char *recipient, char *parameters);
extern const struct refusal milter_message_busy;

/* LEADSPC: the header's value begins right after the colon; else the MTA has eaten a space. */
void milter_message_add_header(struct milter_message *message, const struct milter_header *header,
                               bool leadspc);
void milter_message_end_header(struct milter_message *message);
void milter_message_add_body(struct milter_message *message, const void *bytes, gsize len);
/* The end: seals the spool, or refuses. */
void milter_message_seal(struct milter_message *message);

void milter_message_refuse(struct milter_message *message, const struct refusal *refusal);
/*
 * The answer to a message's end: headers that others have marked it with are taken away, ours are
 * added, and then what DECISION says. LEADSPC as above. With ACTION_REPLACE the new body follows:
 * milter_message_send_body().
 */
void milter_message_answer(GByteArray *out, const struct milter_marks *marks,
                           const struct decision *decision, bool leadspc);

/*
 * Adds a piece of REPLACEMENT's body from *AT, which it moves on; after the last one the answer
 * that ends it: "accept" when all of a body was sent, else 451, and nothing holds that was changed.
 * *AT is 0 at first. Returns whether there is more to come.
 */
bool milter_message_send_body(GByteArray *out, const struct spool *replacement, guint64 *at);

/* Writes the refusal's log line and counts it. */
void milter_message_log_refusal(const struct milter_message *message, struct counters *counters);

/* "<a@b>" -> "a@b"; freed with g_free(). */
char *milter_message_address(const char *raw);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRANSACTION_H
#define TRANSACTION_H

/*
 * One message on its way: SCAN, STRIKE (when that took workers down), DECIDE, RESCAN (what it was
 * replaced by), STORE, REPLY. It
 * begins when the whole message has been received and sealed, is suspended while a worker scans and
 * while the disk writes, and ends with one reply, which is given only when all that it promises is
 * durable.
 */

#include <systemd/sd-event.h>

#include "envelope.h"
#include "ledger.h"
#include "policy.h"
#include "pool.h"
#include "settings.h"
#include "spool.h"
#include "storage.h"
#include "strikes.h"

/* What all transactions share; owned by posternd's main. */
struct transaction_services {
    struct pool *pool;
    struct storage *storage;
    struct ledger *ledger; /* NULL = none */
    struct counters *counters;
    struct spool_budget *budget;
    const struct settings *settings; /* NULL: the defaults */
    struct strikes *strikes;         /* NULL: none are counted */
};

struct transaction;

typedef void transaction_reply(void *data, const struct decision *decision);

/*
 * Starts; takes over ENVELOPE and SPOOL (sealed). REPLY is called exactly once, from the event
 * loop, unless the transaction is abandoned before.
 */
struct transaction *transaction_start(struct transaction_services *services,
                                      struct envelope *envelope, struct spool *spool,
                                      transaction_reply *reply, void *data);
/*
 * The client is gone: no reply is wanted any more. A scan is cancelled; a copy that is being
 * written is completed (the sender will come again and join it by its key). NULL is fine.
 */
void transaction_abandon(struct transaction *transaction);

/*
 * From within REPLY, for ACTION_REPLACE: the new message, which is handed over; its header is the
 * old one's.
 */
struct spool *transaction_take_replacement(struct transaction *transaction);

/* The disk is writing: the reply is near and worth waiting for at the end. NULL: FALSE. */
gboolean transaction_is_storing(const struct transaction *transaction);

#endif

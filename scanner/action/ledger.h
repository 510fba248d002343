/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LEDGER_H
#define LEDGER_H

/*
 * What happened, on its way into the state: incidents (incident.h) and the counters per hour and
 * address (tally.h). They are collected in memory and written in the background, after the reply,
 * every LEDGER_SECONDS; mail never waits for them, and a crash may lose the last ones. What must
 * not be lost (who did what with a kept message) is written where it is done, not here.
 *
 * It also runs what has to be done now and then in the state: expiry, a step at a time.
 */

#include <systemd/sd-event.h>

#include "envelope.h"
#include "facts.h"
#include "incident.h"
#include "storage.h"

#define LEDGER_SECONDS 2
/* In memory at most; what is more is only counted. */
#define LEDGER_INCIDENTS 500
#define LEDGER_NAMES 3000
/* Of one message's recipients these are counted by name. */
#define LEDGER_RECIPIENTS 50

struct ledger;

/* Returns 0 or -errno. STORAGE is borrowed and outlives it. */
int ledger_new(sd_event *event, struct storage *storage, struct ledger **ret);
/* What was not written yet is handed to the storage. Comes before storage_free(). NULL is fine. */
void ledger_free(struct ledger *ledger);

struct ledger_message {
    const struct envelope *envelope;
    enum verdict verdict;
    const char *action;
    const char *reason;
    guint64 size;
    int store_error; /* 0, or the -errno for which no copy was kept */
};
/* After the reply. LEDGER may be NULL: then nothing happens. */
void ledger_message(struct ledger *ledger, const struct ledger_message *message);
/* As incident_add(), later. LEDGER may be NULL. */
void ledger_incident(struct ledger *ledger, const struct incident *incident);

#endif

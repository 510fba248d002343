/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MILTER_H
#define MILTER_H

/* The milter front-end: all of milter_listen, and the connections to them. */

#include <systemd/sd-event.h>
#include <jansson.h>

#include "settings.h"
#include "spool.h"
#include "transaction.h"

struct milter;

/*
 * Listens on SETTINGS->milter_listen and submission_listen and serves; SETTINGS, TRANSACTION and
 * BUDGET outlive it. A connection beyond SETTINGS->clients is closed at once: the MTA answers 451
 * by itself. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int milter_new(sd_event *event, const struct settings *settings,
               struct transaction_services *transaction, struct spool_budget *budget,
               struct milter **ret, char **error_r);
/* Closes everything at once. NULL is fine. */
void milter_free(struct milter *milter);

/*
 * Listens no more and ends the connections; those for which the disk is writing get their reply
 * first. DRAINED is called from the event loop when none is left.
 */
typedef void milter_drained(void *data);
void milter_drain(struct milter *milter, milter_drained *drained, void *data);

/* [{"address": s, "submission": b, "connections": n}, ...], a new reference. */
json_t *milter_status(const struct milter *milter);

#endif

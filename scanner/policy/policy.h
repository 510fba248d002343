/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POLICY_H
#define POLICY_H

/*
 * From what is known about a message to what is done with it. A pure function: no clock, no file,
 * no state; the same input gives the same decision.
 */

#include <stdbool.h>

#include "envelope.h"
#include "facts.h"

enum action {
    ACTION_ACCEPT,     /* deliver, with our header */
    ACTION_QUARANTINE, /* keep a copy durably, then reject with 550 */
    ACTION_REJECT,     /* 550 without a copy: only policy_store_failed() says so */
    ACTION_TEMPFAIL,   /* 451: the sender keeps it */
};
const char *action_name(enum action action);

struct decision {
    enum action action;
    enum verdict verdict;
    char *reply;  /* SMTP: "550 5.7.1 text", one line; NULL for ACTION_ACCEPT */
    char *reason; /* for the log and the header: detection names, causes; "" when clean */
};

/*
 * ENVELOPE is NULL for what is no mail (a file). FACTS is NULL when the scan gave none; then the
 * verdict is VERDICT_ERROR and ERROR says why. Both texts are printable ASCII without backslash,
 * whatever the names in FACTS were, and are freed with decision_clear().
 */
void policy_decide(const struct envelope *envelope, const struct facts *facts, const char *error,
                   struct decision *ret_decision);

/*
 * What is done when the copy cannot be kept. STATE_FULL: the low-water mark or ENOSPC; then
 * infected mail is rejected without a copy (or filling the disk would be an off switch), all else
 * is 451. Any other failure: 451. Changes DECISION (ACTION_QUARANTINE) in place.
 */
void policy_store_failed(struct decision *decision, bool state_full);

/* Frees the texts; DECISION itself is the caller's. */
void decision_clear(struct decision *decision);

#endif

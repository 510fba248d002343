/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POLICY_H
#define POLICY_H

/*
 * From what is known about a message to what is done with it. Pure functions: no clock, no file,
 * no state; the same input gives the same decision.
 */

#include <stdbool.h>

#include "actions.h"
#include "envelope.h"
#include "facts.h"
#include "settings.h"

struct decision {
    enum action action;
    enum verdict verdict;
    char *reply;        /* SMTP: "550 5.7.1 text", one line; NULL when the answer is 250 */
    char *reason;       /* for the log and the header: detections, causes; "" when clean */
    char *rule;         /* name of the rule that asked for the action; NULL = none */
    char *key;          /* under which a copy is kept; NULL = none */
    bool end_to_end;    /* some of it is encrypted for its recipient alone */
    unsigned replacing; /* with ACTION_REPLACE: bit i = what situation i is about is cut out */
};

/*
 * By the defaults, for what is no mail (a file): ENVELOPE is not looked at and may be NULL.
 * FACTS is NULL when the scan gave none; then the verdict is VERDICT_ERROR and ERROR says why.
 * The texts are printable ASCII without backslash, whatever the names in FACTS were, and are freed
 * with decision_clear().
 */
void policy_decide(const struct envelope *envelope, const struct facts *facts, const char *error,
                   struct decision *ret_decision);

/*
 * The same for a mail, by the settings and rules: for each situation in FACTS and each recipient
 * what the first rule that fits says, else the setting; of all that the strictest. SETTINGS NULL:
 * the defaults.
 */
void policy_decide_mail(const struct settings *settings, const struct envelope *envelope,
                        const struct facts *facts, const char *error,
                        struct decision *ret_decision);

/*
 * Changes a DECISION (ACTION_REPLACE) that cannot be carried out: the whole message is kept and
 * refused. WHY is added to the reason.
 */
void policy_replace_failed(struct decision *decision, const char *why);
/*
 * Changes a DECISION that would deliver something, be it a part: the signatures are AGE_S seconds
 * old, more than age_unsafe, or nobody knows (G_MAXUINT64). What was clean is not fully scanned
 * then, and what on_old says is done, where that is stricter. ENVELOPE may be NULL, SETTINGS as in
 * policy_decide_mail().
 */
void policy_old(const struct settings *settings, const struct envelope *envelope, guint64 age_s,
                struct decision *decision);
/* As policy_replace_failed() where nothing of substance would remain: what on_emptied says. */
void policy_emptied(const struct settings *settings, const struct envelope *envelope,
                    struct decision *decision);

/* A message that has cost two workers STRIKES times: kept, refused, never delivered. */
void policy_decide_poison(guint64 strikes, struct decision *ret_decision);

/*
 * What is done when the copy cannot be kept. STATE_FULL: the disk, or a quota; then infected mail
 * that was to be refused is rejected without a copy (or filling the disk would be an off switch),
 * all else is 451. Any other failure: 451. Changes DECISION in place.
 */
void policy_store_failed(struct decision *decision, bool state_full);

/* Whether the action promises a copy in the quarantine. */
bool policy_keeps(enum action action);

/* Frees the texts; DECISION itself is the caller's. */
void decision_clear(struct decision *decision);

#endif

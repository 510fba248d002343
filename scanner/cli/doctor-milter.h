/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DOCTOR_MILTER_H
#define DOCTOR_MILTER_H

/* One list of milters of one service: is Postern in it, and is it joined well? */

#include "doctor.h"
#include "postfix.h"

struct milter_chain {
    const struct postfix *postfix;
    const struct postfix_service *service;
    const char *parameter;             /* "smtpd_milters" or "non_smtpd_milters" */
    gboolean chroot;                   /* the process that connects is confined to the queue */
    GPtrArray *milters;                /* of struct postfix_milter * */
    const struct postfix_milter *ours; /* NULL = Postern is not among them */
    guint position;                    /* of ours */
    gboolean misplaced; /* its path is right, but for the root in which it is looked up */
};

/* Fills in what comes after "chroot". */
void milter_chain_find(const struct doctor *doctor, struct milter_chain *chain);
void milter_chain_clear(struct milter_chain *chain);

/* What happens when Postern fails, how long is waited for it, who comes before it, and whether the
 * socket can be reached. Ours is not NULL. */
void milter_chain_check(struct doctor *doctor, const struct milter_chain *chain);

#endif

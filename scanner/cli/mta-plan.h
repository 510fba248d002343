/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MTA_PLAN_H
#define MTA_PLAN_H

/*
 * What enabling Postern as a milter changes in one Postfix instance, done on a copy (mta-edit.h):
 *   smtpd_milters, non_smtpd_milters  have Postern beside what they have
 *   milter_default_action             tempfail; where other milters of the list want something else
 *                                     Postern's entry says so for itself
 *   master.cf                         services that override smtpd_milters (or cleanup's
 *                                     non_smtpd_milters) get it too, those that only this host
 *                                     reaches are left alone
 *   postern-release                   the service for released mail, when it is wanted
 */

#include <jansson.h>

#include "mta-edit.h"

/* Shall SERVICE ("submission/inet"), whose own list is LIST, have Postern too? */
typedef gboolean mta_ask(const char *service, const char *list, void *data);

struct mta_wish {
    char *const *listen; /* Postern's own sockets, the one to use first; and ADDRESS */
    const char *address; /* when it is not to be worked out from LISTEN (mta_address()); or NULL */
    gboolean release;
    mta_ask *ask; /* NULL: yes */
    void *data;
};

/*
 * Edits EDIT. What was left alone, and what a person has to look at, is added to NOTES: an array of
 * {"where","what","open"}; "open": mail can pass here unscanned. FALSE with one sentence in
 * *ERROR_R.
 */
gboolean mta_plan(struct mta_edit *edit, const struct mta_wish *wish, json_t *notes,
                  char **error_r);

/*
 * Takes Postern out of the lists and overrides that have it, whoever put it there; a list of
 * main.cf that is empty then goes too. WISH: only LISTEN is looked at.
 */
gboolean mta_plan_out(struct mta_edit *edit, const struct mta_wish *wish, char **error_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RELEASE_H
#define RELEASE_H

/*
 * The two ends of a release, as the state sees it. Begin: the note and the row say "releasing"
 * durably, before anything is sent. End: they say how it went. What happens in between (smtp.h)
 * takes as long as the MTA takes, and so runs elsewhere. One release at a time.
 *
 * All functions run in the storage thread; the ticket goes to whoever sends.
 */

#include "envelope.h"
#include "smtp.h"
#include "state.h"

struct release_ticket {
    char *key;
    char *sender;
    GPtrArray *recipients; /* of char * */
    char *parameters;      /* of MAIL; this and the next are NULL where nothing is known of them */
    GPtrArray *recipient_parameters; /* of char *, beside RECIPIENTS */
    int fd;                          /* the kept file, opened for reading */
    off_t from;                      /* where the message begins in it */
    gint64 attempt;
};
void release_ticket_free(struct release_ticket *ticket);

/*
 * Begins to release the one entry whose key begins with PREFIX, to the recipients TO (NULL: those
 * of its envelope, or of the release that was cut off) for user UID (INCIDENT_NOBODY: to complete
 * one that was cut off). Returns 0 with *RET_TICKET,
 * -ENOENT, -ENOTUNIQ, -ENODATA (the file is gone), -EBADMSG (it is damaged), -EBUSY (another is
 * released now), -ENOSPC, or another -errno; then nothing was begun.
 */
int release_begin(struct state *state, const char *prefix, char **to, gint64 uid,
                  struct release_ticket **ret_ticket);

/*
 * Ends it. Accepted: released. Uncertain, or KEEP_TRYING and it may work later: it stays
 * "releasing" and is to be done again. Else it is as it was before. Returns 0 or -errno; then it
 * stays "releasing" too.
 */
int release_end(struct state *state, const struct release_ticket *ticket, enum smtp_outcome outcome,
                const char *answer, gboolean keep_trying, gint64 uid);

/*
 * The keys (char *) of the releases that were begun and have not ended, at most
 * RELEASE_UNFINISHED. Returns 0 or -errno.
 */
#define RELEASE_UNFINISHED 1000
int release_unfinished(struct state *state, GPtrArray **ret_keys);

#endif

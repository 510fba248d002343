/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PRECEDENCE_H
#define PRECEDENCE_H

/*
 * May this node try, and adopt, a generation by itself now? In a cluster whose nodes share their
 * signatures the passive nodes go first, and the active one follows when they work with it: a
 * generation that brings a node down so never reaches the one that serves. Who asks is
 * postern-engine, before it begins a trial and before it adopts; what an administrator orders is
 * not asked about.
 */

#include <jansson.h>

#include "settings.h"

/* Where the agent keeps what the cluster wants of this node (ha/role.h). */
#define PRECEDENCE_ROLE "/run/postern/cluster/role"

enum precedence {
    PRECEDENCE_GO,
    PRECEDENCE_WAIT,    /* ask again in some seconds */
    PRECEDENCE_REFUSED, /* the same: another node says that it rejected it */
};

/*
 * Of the generation NAME. ROLE: the role file, NULL = PRECEDENCE_ROLE. *WHY_R is one sentence
 * unless the answer is GO; to be freed by g_free().
 *
 * GO: update_on is "every node", this node has no peers, it does not serve, or it has no signatures
 * in use. Else it goes last: when all other nodes that are there work with NAME, and did so for
 * share_interval; when those that do not have had update_patience for it; or when for update_alone
 * no other node was there at all. Both are counted from when NAME was given to them; where one
 * generation after another is held up the patience halves each time that it has passed since
 * (`held` of board.h).
 * WAIT, REFUSED: otherwise, and for ever when a node began with NAME and was not heard of since, or
 * its trials there never came to an end: the next machine that it takes down would be this one.
 *
 * What a node says of itself holds NAME up for a time, and rejects nothing here: a postern-share
 * that was taken over says what it likes, and must not keep new signatures away for good. That it
 * rejected NAME counts for four times update_patience, that it is in the middle of it for as long
 * as two trials may take. Then this node's own trial decides.
 */
enum precedence precedence_of(const struct settings *settings, const char *name, const char *role,
                              char **why_r);

/* For it and its tests: of what the board says (board.h; NULL: there is none). IS_FRESH:
 * postern-share runs; WAITED: for how many seconds NAME has been here, by the clock. */
enum precedence precedence_judge(const struct settings *settings, const json_t *status,
                                 gboolean is_fresh, const char *name, gint64 waited, char **why_r);

/* Whether this node is to fetch from the mirrors: update_on is "every node", or it serves, or it
 * has no peers that could give it anything. ROLE: as above. */
gboolean precedence_may_fetch(const struct settings *settings, const char *role);

/* Whether the cluster has this node serve: the role file says so of any resource. */
gboolean precedence_is_active(const char *role);

/* Seconds without a word after which a node counts as not there. */
gint64 precedence_silence(const struct settings *settings);

#endif

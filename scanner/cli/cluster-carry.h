/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_CARRY_H
#define CLUSTER_CARRY_H

/* A plan is carried out: each step written and waited for, with a line of progress, until it is
 * done, somebody interrupts (SIGINT, SIGTERM, SIGHUP), or something happens that was not planned.
 */

#include <glib.h>

#include "model.h"
#include "plan.h"

struct carry {
    struct plan *plan;
    char *epoch;       /* of the configuration as this program knows it; owned */
    const char *group; /* as was asked for, or NULL */
    unsigned limit_s;  /* for the loading of the signatures; 0 = by what was measured */
    unsigned load_s;   /* the longest load that was measured; then what it took this time */
    gboolean quiet;    /* no progress */
    gboolean written; /* the configuration has something of it, or may have; set by carry_setup() */
    gboolean removing; /* the scanner's own failures do not matter; set by carry_remove() */
};

/* The signals are held back from here on, so that an interruption comes between two steps; a
 * terminal or pipe that goes away does not end the program half way. */
void carry_hold_signals(void);
/* Whether somebody has interrupted meanwhile; tells it once. */
gboolean carry_interrupted(void);

/*
 * Setup's steps. Returns 0; -ESTALE: somebody else changed the configuration; -EINTR: interrupted;
 * -ECANCELED: a node left, mail moved or the scanner failed; -ETIMEDOUT; -errno. *ERROR_R is one
 * sentence then. What was done stays: carry_undo() takes it back.
 */
int carry_setup(struct carry *carry, char **error_r);

/* Remove's steps, as above. */
int carry_remove(struct carry *carry, char **error_r);

/* Takes away whatever is there of PLAN's scanner, whatever else has changed meanwhile; not to be
 * interrupted. Returns 0 (also when nothing was there) or -errno with one sentence. */
int carry_undo(struct carry *carry, char **error_r);

/* When and how often the members of the group were started: equal texts, nothing was restarted.
 * g_free(). */
char *carry_mail_history(const struct model *model);

#endif

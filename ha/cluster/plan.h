/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PLAN_H
#define PLAN_H

/*
 * What `postern cluster setup` and `remove` change in the cluster's configuration, step by step.
 * Each step is one change that the cluster takes whole or not at all; between the steps it comes
 * to rest. The mail group depends on the scanner only from the last step of setup to the first of
 * remove, so whatever fails before or after costs no mail (docs/DECISIONS/0012-setup.md).
 */

#include <glib.h>
#include <libxml/tree.h>

#include "model.h"

/* Seconds. The bases are the agent's advice; on a machine that is slow to load they grow. */
struct plan_timeouts {
    unsigned start, stop, monitor, promote, demote;
};
struct plan_timeouts plan_timeouts(unsigned load_seconds);

struct plan {
    char *name;             /* of the primitive */
    char *clone;            /* NAME-clone */
    char *group;            /* the mail's */
    char *active;           /* the node on which mail runs */
    char *config;           /* parameter; NULL = the default */
    char *queue_directory;  /* parameter; NULL = the milter's socket is reached directly */
    GPtrArray *filesystems; /* ids (char *): before the promotion */
    GPtrArray *servers;     /* ids (char *): started after it */
    GPtrArray *allowed;     /* nodes (char *) where mail may run */
    GPtrArray *banned;      /* nodes (char *) where it may not */
    gboolean opt_in;        /* symmetric-cluster=false: the clone needs a permission per node */
    struct plan_timeouts timeouts;
};

/*
 * A plan for the group of MODEL. NAME: of the new resource. STATE_DIR and QUEUE_DIRECTORY (NULL =
 * none) choose the file systems. Returns NULL with one sentence in *ERROR_R: STATE_DIR is on no
 * file system of the group, a name is taken or is none, crm_simulate does not work.
 */
struct plan *plan_new(const struct model *model, const char *name, const char *config,
                      const char *state_dir, const char *queue_directory, char **error_r);
void plan_free(struct plan *plan);
typedef struct plan plan_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(plan_t, plan_free)

/* The changes; each edits CIB in memory. DATA is the struct plan. */
typedef void plan_edit(xmlDoc *cib, const void *data);

/* Setup. 1: the clone on all nodes, kept from promotion. 2: it may be promoted, beside the mail
 * alone. 3: mail follows it. */
plan_edit plan_load, plan_promote, plan_join;
/* Remove. 1: nothing depends on it any more, and it is to stop. 2: it is no more. They take away
 * whatever names the scanner, by whomever it was made. */
plan_edit plan_leave, plan_delete;

struct plan_step {
    const char *title;
    plan_edit *edit;
    const char *wait; /* what is waited for after it */
};
#define PLAN_SETUP_STEPS 3
#define PLAN_REMOVE_STEPS 2
extern const struct plan_step plan_setup_steps[PLAN_SETUP_STEPS];
extern const struct plan_step plan_remove_steps[PLAN_REMOVE_STEPS];

/* A plan to remove what MODEL has of the scanner; allowed: all members of the cluster, since it may
 * have run on any of them. */
struct plan *plan_of_existing(const struct model *model);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SIMULATE_H
#define SIMULATE_H

/*
 * What the cluster would do: crm_simulate, the scheduler itself, on a CIB in memory. It works
 * without a cluster.
 *
 * Promotion scores have to be put in: of a clone that is new crm_simulate believes that nobody can
 * be promoted.
 */

#include <glib.h>
#include <libxml/tree.h>

struct simulate_action {
    char *action;   /* "start", "stop", "move", "promote", "demote", "recover", ... */
    char *resource; /* without the ":0" of a clone's instance */
    char *from;     /* NULL */
    char *to;       /* NULL */
};

struct simulation {
    GPtrArray *actions; /* struct simulate_action * */
    GPtrArray *weights; /* of <node_weight>: borrowed from OUTPUT */
    xmlDoc *output;     /* what crm_simulate printed */
    xmlDoc *after;      /* the CIB when all of it has been done */
};

/* Returns 0 and what would happen in *RET (simulation_free()), or -errno with one sentence. */
int simulate(xmlDoc *cib, struct simulation **ret, char **error_r);
void simulation_free(struct simulation *simulation);
typedef struct simulation simulation_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(simulation_t, simulation_free)

/* Sets the transient attribute NAME of NODE in CIB to VALUE; NULL takes it away. */
void simulate_attribute(xmlDoc *cib, const char *node, const char *name, const char *value);
/* Sets NODE's standby attribute. */
void simulate_standby(xmlDoc *cib, const char *node);

/* The first action on a resource that is not OWN; NULL = there is none. Borrowed. */
const struct simulate_action *simulation_stranger(const struct simulation *simulation,
                                                  const char *own);
/* Whether ACTION is done with RESOURCE, ending on NODE (NULL = any). */
gboolean simulation_has(const struct simulation *simulation, const char *action,
                        const char *resource, const char *node);
/* "promote postern on n1"; g_free(). */
char *simulate_action_text(const struct simulate_action *action);
/* All of them, "promote postern on n1, ..."; "nothing" when there is none. g_free(). */
char *simulation_text(const struct simulation *simulation);

/* Whether the rules let each of IDS (a group and its members; NULL-terminated) run on NODE. */
gboolean simulation_allows(const struct simulation *simulation, const char *const *ids,
                           const char *node);

#endif

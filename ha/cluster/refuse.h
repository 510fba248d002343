/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REFUSE_H
#define REFUSE_H

/*
 * What speaks against a change of the cluster, each by name with what to do about it. All of it is
 * collected, so that a person mends it in one go. A remark does not hinder.
 */

#include <glib.h>

#include "model.h"

struct refusal {
    gboolean is_remark;
    char *where; /* the object: a node, a resource, a property */
    char *what;
    char *todo; /* NULL in remarks that need nothing */
};

/* An array of struct refusal *; g_ptr_array_unref(). */
GPtrArray *refusals_new(void);
void refuse(GPtrArray *refusals, const char *where, const char *todo, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void remark(GPtrArray *refusals, const char *where, const char *todo, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* How many of them are no remarks. */
guint refusals_count(const GPtrArray *refusals);

/* Maintenance, what is unmanaged, failed actions, nodes that are away, no quorum: what speaks
 * against any change, be it setup or remove. */
void refuse_unsettled(GPtrArray *refusals, const struct model *model);
/* What people have made of the scanner beside setup and would be left in the air by remove. */
void refuse_ties(GPtrArray *refusals, const struct model *model);
/* The same of the running cluster: the controller is still busy after ten seconds, or there is
 * none; crm_verify. */
void refuse_busy(GPtrArray *refusals, const struct model *model);

/* What setup cannot handle: no fencing or a node without, no or several mail groups, kinds of
 * resources and constraints, stickiness that outvotes readiness. WANTED: the group that was asked
 * for, or NULL. */
void refuse_unfit(GPtrArray *refusals, const struct model *model, const char *wanted);

/* 2 x the sum of the stickiness of the group's members and of its preferences for a node, which is
 * what the scheduler adds for the node that has it; CIB_INFINITY and above: never leaves. */
long refuse_inertia(const struct model *model);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_VIEW_H
#define CLUSTER_VIEW_H

/* What `postern cluster setup` and `remove` show before they do anything, for people and as JSON.
 */

#include <glib.h>
#include <jansson.h>

#include "model.h"
#include "plan.h"
#include "refuse.h"
#include "rehearse.h"

struct view {
    const struct model *model;
    const struct plan *plan; /* NULL: it did not come so far */
    const struct rehearsal *rehearsal;
    const GPtrArray *refusals;
    gboolean removing;
    GPtrArray *extra; /* lines (char *) of what is done beside the cluster's configuration */
};

void view_print(const struct view *view);
/* {"found","refusals","remarks","steps","then","beside"}; a new reference. */
json_t *view_json(const struct view *view);

/* The refusals and remarks alone. */
void view_refusals(const GPtrArray *refusals);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRILL_CHECK_H
#define DRILL_CHECK_H

/* May a drill be run now, from where to where? */

#include "model.h"
#include "refuse.h"

struct drill_route {
    char *from;
    char *to;
    char *address; /* of the mail group; NULL = none found */
};

void drill_route_clear(struct drill_route *route);

/*
 * Works out the route: from where the group runs to TO, or to the first other node that is ready
 * when TO is NULL. Adds what speaks against a drill to REFUSALS; what it asks of the running
 * cluster beside MODEL is asked only when LIVE.
 */
void drill_check(const struct model *model, const char *to, gboolean live, GPtrArray *refusals,
                 struct drill_route *route_r);

#endif

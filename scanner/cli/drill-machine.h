/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRILL_MACHINE_H
#define DRILL_MACHINE_H

/*
 * A failover drill, step by step: what is to be done next, from what is seen now. Pure; times are
 * monotonic microseconds.
 *
 *   WARM    probes run, nothing is changed yet
 *   AWAY    the group has to move to the other node
 *   THERE   it runs there for a while
 *   WAKE    the first node has to be ready again (after standby it loads the signatures)
 *   HOME    the group has to move back
 *   AFTER   it runs there for a while
 *   LAST    nothing of the drill is left in the cluster: does the group stay where it is?
 *   END
 *
 * An interruption ends what was begun in the same way, only sooner: what has moved goes home. A
 * second one does not wait for that.
 */

#include <glib.h>

enum drill_phase {
    DRILL_WARM,
    DRILL_AWAY,
    DRILL_THERE,
    DRILL_WAKE,
    DRILL_HOME,
    DRILL_AFTER,
    DRILL_LAST,
    DRILL_END,
};

/* What the caller does now, once. */
enum drill_order {
    ORDER_WAIT,   /* nothing: look again in a moment */
    ORDER_GO,     /* move the group to the other node */
    ORDER_WAKE,   /* end the standby, where the drill has set it */
    ORDER_RETURN, /* move it back */
    ORDER_CLEAN,  /* take away all that the drill has set */
    ORDER_END,
};

struct drill_plan {
    const char *from;
    const char *to;
    gboolean standby; /* instead of a location rule */
    gboolean stay;
    gint64 warm_us;  /* at least, before the move */
    gint64 rest_us;  /* at least, after each */
    gint64 limit_us; /* for a move, or for getting ready */
};

struct drill_seen {
    gint64 now;
    const char *group;    /* the node that has all of the mail group; NULL = none */
    const char *promoted; /* the node that serves; NULL = none */
    gboolean from_ready;
    unsigned good; /* probes with the right verdict in a row, of those since the last order */
    unsigned interrupts;
    gboolean failed; /* the last order could not be carried out */
};

/* A move. Moments are 0 as long as they have not come. */
struct drill_leg {
    gint64 ordered;
    gint64 promoted; /* Postern serves there */
    gint64 moved;    /* all of the group is there */
    gint64 arrived;  /* and probes are served */
    gint64 ended;    /* what began later belongs to the next leg */
};

enum drill_trouble {
    TROUBLE_NOT_SERVED = 1 << 0, /* probes were not served before anything was changed */
    TROUBLE_ORDER = 1 << 1,      /* the cluster did not take a change */
    TROUBLE_AWAY = 1 << 2,       /* not there in time */
    TROUBLE_WAKE = 1 << 3,       /* the first node did not become ready in time */
    TROUBLE_HOME = 1 << 4,       /* not back in time */
    TROUBLE_WANDERED = 1 << 5,   /* it left after the end */
    TROUBLE_INTERRUPTED = 1 << 6,
};

struct drill_machine {
    struct drill_plan plan;
    enum drill_phase phase;
    gint64 since; /* of the phase */
    unsigned troubles;
    struct drill_leg away;
    struct drill_leg home;
    gboolean changed; /* something of the drill may be in the cluster */
};

void drill_begin(struct drill_machine *m, const struct drill_plan *plan, gint64 now);
enum drill_order drill_step(struct drill_machine *m, const struct drill_seen *seen);
const char *drill_phase_name(enum drill_phase phase);
/* The moment from which SEEN's good probes are counted. */
gint64 drill_counts_since(const struct drill_machine *m);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "drill-machine.h"

#include <string.h>

/* Right verdicts in a row that count as service; one may be a mail that had begun before. */
#define GOOD_BEFORE 5
#define GOOD_AFTER 3
/* Without service for so long before the drill there is nothing to drill. */
#define WARM_LIMIT_US (30 * G_USEC_PER_SEC)

const char *
drill_phase_name(enum drill_phase phase)
{
    static const char *const names[] = {
        [DRILL_WARM] = "before",  [DRILL_AWAY] = "moving there", [DRILL_THERE] = "there",
        [DRILL_WAKE] = "waiting", [DRILL_HOME] = "moving back",  [DRILL_AFTER] = "back",
        [DRILL_LAST] = "after",   [DRILL_END] = "end",
    };
    return names[phase];
}

void
drill_begin(struct drill_machine *m, const struct drill_plan *plan, gint64 now)
{
    *m = (struct drill_machine){.plan = *plan, .phase = DRILL_WARM, .since = now};
}

gint64
drill_counts_since(const struct drill_machine *m)
{
    return m->since;
}

static enum drill_order
enter(struct drill_machine *m, enum drill_phase phase, gint64 now, enum drill_order order)
{
    m->phase = phase;
    m->since = now;
    return order;
}

static enum drill_order
clean(struct drill_machine *m, gint64 now)
{
    gint64 *end = m->home.ordered != 0 ? &m->home.ended : &m->away.ended;
    if (m->away.ordered != 0 && *end == 0) {
        *end = now;
    }
    return m->changed ? enter(m, DRILL_LAST, now, ORDER_CLEAN)
                      : enter(m, DRILL_END, now, ORDER_END);
}

static enum drill_order
step_warm(struct drill_machine *m, const struct drill_seen *seen)
{
    gint64 waited = seen->now - m->since;
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
        return clean(m, seen->now);
    }
    if (seen->good >= GOOD_BEFORE && waited >= m->plan.warm_us) {
        m->changed = TRUE;
        m->away.ordered = seen->now;
        return enter(m, DRILL_AWAY, seen->now, ORDER_GO);
    }
    if (waited >= m->plan.warm_us + WARM_LIMIT_US) {
        m->troubles |= TROUBLE_NOT_SERVED;
        return clean(m, seen->now);
    }
    return ORDER_WAIT;
}

/* Notes what a leg has come to; TRUE when it has arrived. */
static gboolean
leg_note(struct drill_leg *leg, const char *node, const struct drill_seen *seen)
{
    gboolean promoted = g_strcmp0(seen->promoted, node) == 0;
    gboolean moved = g_strcmp0(seen->group, node) == 0;
    if (promoted && leg->promoted == 0) {
        leg->promoted = seen->now;
    }
    if (moved && leg->moved == 0) {
        leg->moved = seen->now;
    }
    if (promoted && moved && seen->good >= GOOD_AFTER && leg->arrived == 0) {
        leg->arrived = seen->now;
    }
    return leg->arrived != 0;
}

/* The way home begins: first of all the first node has to be one that can be returned to. */
static enum drill_order
turn(struct drill_machine *m, const struct drill_seen *seen)
{
    return enter(m, DRILL_WAKE, seen->now, m->plan.standby ? ORDER_WAKE : ORDER_WAIT);
}

static enum drill_order
step_away(struct drill_machine *m, const struct drill_seen *seen)
{
    gboolean arrived = leg_note(&m->away, m->plan.to, seen);
    if (seen->failed) {
        m->troubles |= TROUBLE_ORDER;
        return clean(m, seen->now);
    }
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
        return turn(m, seen);
    }
    if (arrived) {
        return enter(m, DRILL_THERE, seen->now, ORDER_WAIT);
    }
    if (seen->now - m->since >= m->plan.limit_us) {
        m->troubles |= TROUBLE_AWAY;
        return turn(m, seen);
    }
    return ORDER_WAIT;
}

static enum drill_order
step_there(struct drill_machine *m, const struct drill_seen *seen)
{
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
        return turn(m, seen);
    }
    if (seen->now - m->since < m->plan.rest_us) {
        return ORDER_WAIT;
    }
    return m->plan.stay ? clean(m, seen->now) : turn(m, seen);
}

static enum drill_order
step_wake(struct drill_machine *m, const struct drill_seen *seen)
{
    if (seen->interrupts > 1) {
        m->troubles |= TROUBLE_INTERRUPTED;
        return clean(m, seen->now);
    }
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
    }
    if (seen->failed) {
        m->troubles |= TROUBLE_ORDER;
        return clean(m, seen->now);
    }
    if (seen->from_ready) {
        m->away.ended = seen->now;
        m->home.ordered = seen->now;
        return enter(m, DRILL_HOME, seen->now, ORDER_RETURN);
    }
    if (seen->now - m->since >= m->plan.limit_us) {
        m->troubles |= TROUBLE_WAKE;
        return clean(m, seen->now);
    }
    return ORDER_WAIT;
}

static enum drill_order
step_home(struct drill_machine *m, const struct drill_seen *seen)
{
    gboolean arrived = leg_note(&m->home, m->plan.from, seen);
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
    }
    if (seen->failed) {
        m->troubles |= TROUBLE_ORDER;
        return clean(m, seen->now);
    }
    if (arrived) {
        return enter(m, DRILL_AFTER, seen->now, ORDER_WAIT);
    }
    if (seen->interrupts > 1) {
        return clean(m, seen->now);
    }
    if (seen->now - m->since >= m->plan.limit_us) {
        m->troubles |= TROUBLE_HOME;
        return clean(m, seen->now);
    }
    return ORDER_WAIT;
}

/* A move that was turned round half way looks like an arrival until the cluster catches up. */
static enum drill_order
step_after(struct drill_machine *m, const struct drill_seen *seen)
{
    if (seen->interrupts > 0) {
        m->troubles |= TROUBLE_INTERRUPTED;
    }
    if (seen->interrupts > 1) {
        return clean(m, seen->now);
    }
    if (g_strcmp0(seen->group, m->plan.from) != 0) {
        m->home.arrived = 0;
        return enter(m, DRILL_HOME, seen->now, ORDER_WAIT);
    }
    return seen->now - m->since < m->plan.rest_us ? ORDER_WAIT : clean(m, seen->now);
}

/* Where the group has to be in the end. */
static const char *
last_node(const struct drill_machine *m)
{
    return m->plan.stay || m->home.ordered == 0 ? m->plan.to : m->plan.from;
}

static enum drill_order
step_last(struct drill_machine *m, const struct drill_seen *seen)
{
    if (seen->failed) {
        m->troubles |= TROUBLE_ORDER;
        return enter(m, DRILL_END, seen->now, ORDER_END);
    }
    if (seen->now - m->since < m->plan.rest_us / 2 && seen->interrupts < 2) {
        return ORDER_WAIT;
    }
    gboolean whole = (m->troubles & ~(unsigned)TROUBLE_INTERRUPTED) == 0;
    if (whole && seen->interrupts < 2 && g_strcmp0(seen->group, last_node(m)) != 0) {
        m->troubles |= TROUBLE_WANDERED;
    }
    return enter(m, DRILL_END, seen->now, ORDER_END);
}

static enum drill_order
step_end(struct drill_machine *m, const struct drill_seen *seen)
{
    (void)m;
    (void)seen;
    return ORDER_END;
}

enum drill_order
drill_step(struct drill_machine *m, const struct drill_seen *seen)
{
    static enum drill_order (*const steps[])(struct drill_machine *, const struct drill_seen *) = {
        [DRILL_WARM] = step_warm, [DRILL_AWAY] = step_away, [DRILL_THERE] = step_there,
        [DRILL_WAKE] = step_wake, [DRILL_HOME] = step_home, [DRILL_AFTER] = step_after,
        [DRILL_LAST] = step_last, [DRILL_END] = step_end,
    };
    return steps[m->phase](m, seen);
}

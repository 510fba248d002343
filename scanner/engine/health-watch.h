/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HEALTH_WATCH_H
#define HEALTH_WATCH_H

/*
 * Judges this node's health from causes of its own (ha/base/health.h): a table of pure functions
 * over one measure, then N of M (hysteresis.h). Nothing here is known of the shared storage or of
 * mail: what would come along when the service moves is no reason to move it.
 */

#include <systemd/sd-event.h>

#include "health.h"
#include "health-probe.h"
#include "settings.h"

struct health_limits {
    double pressure;  /* percent; red from here on, yellow from half of it */
    uint64_t memory;  /* bytes that have to be available; below it red */
    uint64_t load;    /* bytes that the signatures take: below both together yellow, because new
                         ones could not be loaded beside them */
    uint64_t storage; /* bytes that have to be free, or a twentieth of a file system that is small;
                         below it red, below twice of it yellow */
};

/* Setting the clock by more than this is a jump; so many of them within HEALTH_JUMP_AGE_S are a
 * clock that cannot be relied on. */
#define HEALTH_JUMP_US 2000000
#define HEALTH_JUMPS_RED 3U
#define HEALTH_JUMP_AGE_S 600

/* How CAUSE, one of the node's, stands by this one MEASURE. */
enum health_level health_judge(enum health_cause cause, const struct health_measure *measure,
                               const struct health_limits *limits);

/* The last jumps of the clock. */
struct health_clock {
    bool begun;
    int64_t offset_us;
    int64_t jump_s[HEALTH_JUMPS_RED]; /* when, in seconds since boot; 0 = never */
};
/* Takes an offset (struct health_measure) seen at NOW_S; returns the jumps that count. */
unsigned health_clock_step(struct health_clock *clock, int64_t offset_us, int64_t now_s);

struct health_watch;

/*
 * Calls ON_CHANGE in the event loop with what holds now, whenever that is another than before; the
 * first time soon after the start. BEFORE is how a predecessor left it, or NULL. ON_ASK is asked at
 * each look about the signatures. A node that cannot be measured is green. Returns 0 or -errno.
 */
struct health_signatures {
    uint64_t memory; /* bytes that they take */
    bool old;        /* older than they should be */
    bool waits;      /* newer ones wait for memory */
    bool moves;      /* so they do, and the mail may move for that */
};
typedef void health_changed(const struct health *health, void *data);
typedef void health_ask(struct health_signatures *ret, void *data);
int health_watch_new(sd_event *event, const struct settings *settings, const struct health *before,
                     health_changed *on_change, health_ask *on_ask, void *data,
                     struct health_watch **ret);
/* NULL is fine. */
void health_watch_free(struct health_watch *watch);

#endif

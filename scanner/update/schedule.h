/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCHEDULE_H
#define SCHEDULE_H

/* When the next round begins. Times are Unix seconds. */

#include <glib.h>

/* A mirror that says 403 or 429 is left alone for at most so long, whatever it or a clock that was
 * wrong once says. */
#define SCHEDULE_WAIT_MAX 86400

struct schedule {
    gint64 interval;
    gint64 jitter;
    gint64 last;    /* when the last round began; 0: never */
    guint failures; /* rounds since one brought everything */
};

/*
 * The interval after the last round; after one that failed sooner at first, each time twice as
 * long (the mirrors may be down for a minute or a day). CHANCE (any number) picks how much of the
 * jitter is added. A last round in the future (the clock was wrong) counts as none; the first one
 * is soon: within a tenth of the jitter, at most a minute.
 */
gint64 schedule_next(const struct schedule *schedule, gint64 now, guint32 chance);

/* Whether a source that was told to wait UNTIL is still to be left alone at NOW. */
gboolean schedule_must_wait(gint64 until, gint64 now);

#endif

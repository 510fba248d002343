/* SPDX-License-Identifier: GPL-2.0-only */
#include "schedule.h"

#define RETRY_FIRST 300
#define SOON_MAX 60

static gint64
pause_of(const struct schedule *schedule)
{
    gint64 pause = RETRY_FIRST;
    if (schedule->failures == 0) {
        return schedule->interval;
    }
    for (guint i = 1; i < schedule->failures && pause < schedule->interval; i++) {
        pause *= 2;
    }
    return MIN(pause, schedule->interval);
}

gint64
schedule_next(const struct schedule *schedule, gint64 now, guint32 chance)
{
    gint64 jitter = schedule->jitter;
    if (schedule->last <= 0 || schedule->last > now) {
        return now + chance % (MIN(jitter / 10, SOON_MAX) + 1);
    }
    if (schedule->failures > 0) {
        jitter = MIN(jitter, pause_of(schedule) / 4);
    }
    return schedule->last + pause_of(schedule) + chance % (jitter + 1);
}

gboolean
schedule_must_wait(gint64 until, gint64 now)
{
    return until > now && until <= now + SCHEDULE_WAIT_MAX;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "patience.h"

#include <pthread.h>
#include <time.h>
#include <glib.h>
#include <systemd/sd-daemon.h>

/* Between two looks; asked for is several times as much. */
#define LOOK_US (2 * G_TIME_SPAN_SECOND)
#define MORE_US (10 * G_TIME_SPAN_SECOND)

struct patience {
    clockid_t clock; /* the CPU time of the thread that is watched */
    GThread *thread;
    GMutex lock; /* guards what follows */
    GCond over;
    gboolean end;
};

static gint64
used_ns(const struct patience *patience)
{
    struct timespec used = {0};
    (void)clock_gettime(patience->clock, &used);
    return (gint64)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* Returns whether to go on. */
static gboolean
look_later(struct patience *patience)
{
    gint64 until = g_get_monotonic_time() + LOOK_US;
    g_mutex_lock(&patience->lock);
    while (!patience->end && g_cond_wait_until(&patience->over, &patience->lock, until)) {
    }
    gboolean go_on = !patience->end;
    g_mutex_unlock(&patience->lock);
    return go_on;
}

static void *
watch(void *data)
{
    struct patience *patience = data;
    gint64 used = used_ns(patience);
    gint64 moved = g_get_monotonic_time();
    while (look_later(patience)) {
        gint64 now = g_get_monotonic_time();
        gint64 before = used;
        used = used_ns(patience);
        if (used != before) {
            moved = now;
        }
        if (now - moved < PATIENCE_SILENT_S * G_TIME_SPAN_SECOND) {
            (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" G_GINT64_FORMAT, (gint64)MORE_US);
        }
    }
    return NULL;
}

struct patience *
patience_new(void)
{
    struct patience *patience = g_new0(struct patience, 1);
    if (pthread_getcpuclockid(pthread_self(), &patience->clock) != 0) {
        g_free(patience);
        return NULL;
    }
    g_mutex_init(&patience->lock);
    g_cond_init(&patience->over);
    patience->thread = g_thread_new("patience", watch, patience);
    return patience;
}

void
patience_free(struct patience *patience)
{
    if (patience == NULL) {
        return;
    }
    g_mutex_lock(&patience->lock);
    patience->end = TRUE;
    g_cond_signal(&patience->over);
    g_mutex_unlock(&patience->lock);
    g_thread_join(patience->thread);
    g_mutex_clear(&patience->lock);
    g_cond_clear(&patience->over);
    g_free(patience);
}

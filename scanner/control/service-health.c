/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "service-health.h"

#include <string.h>
#include <unistd.h>

#include "durable.h"
#include "hysteresis.h"
#include "log.h"
#include "wake.h"

#define FILE_NAME "posternd.health"

struct service_health {
    const struct settings *settings;
    struct storage *storage;
    struct pool *pool;
    const struct releaser *releaser;
    const struct spool_budget *budget;
    sd_event_source *timer;
    struct hysteresis causes[HEALTH_CAUSES];
    struct health now;
    char *path;
    char *written;
    bool state_full;
    bool seen_full; /* the storage thread's while it has the question */
    bool asking;
    gint64 asked; /* monotonic microseconds */
    bool keep_file;
};

static bool
is_full(const struct service_measure *m)
{
    return m->state_full;
}

static bool
is_slow(const struct service_measure *m)
{
    return m->state_wait_s >= SERVICE_HEALTH_SLOW_S;
}

static bool
is_unreachable(const struct service_measure *m)
{
    return m->mta_unreachable;
}

static bool
is_queueing(const struct service_measure *m)
{
    return m->queued > 0;
}

/* The last quarter is for small mail (spool.h): larger is refused by now. */
static bool
is_short(const struct service_measure *m)
{
    return m->memory_used > m->memory_limit - m->memory_limit / 4;
}

static bool (*const judges[HEALTH_CAUSES])(const struct service_measure *m) = {
    [HEALTH_STATE_FULL] = is_full,      [HEALTH_STATE_SLOW] = is_slow,
    [HEALTH_MTA_PATH] = is_unreachable, [HEALTH_BUSY_WORKERS] = is_queueing,
    [HEALTH_BUSY_MEMORY] = is_short,
};

enum health_level
service_health_judge(enum health_cause cause, const struct service_measure *measure)
{
    bool bad = judges[cause] != NULL && judges[cause](measure);
    return bad ? HEALTH_YELLOW : HEALTH_GREEN;
}

static void
write_file(struct service_health *service)
{
    struct health told = service->now;
    health_drop_untold(&told);
    g_autofree char *word = health_format(&told);
    if (g_strcmp0(word, service->written) == 0) {
        return;
    }
    g_autofree char *line = g_strconcat(word, "\n", NULL);
    int rc = durable_keep_text(service->path, line, 0644);
    if (rc < 0) {
        /* It only informs: once is enough. */
        log_info("%s: %s", service->path, g_strerror(-rc));
    }
    g_free(service->written);
    service->written = g_steal_pointer(&word);
    wake_notify(service->settings->engine_dir);
}

static void
log_changes(const struct health *before, const struct health *now)
{
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (before->level[i] != now->level[i]) {
            log_notice("health: %s%s", now->level[i] == HEALTH_GREEN ? "no longer: " : "",
                       health_cause_text((enum health_cause)i));
        }
    }
}

static void
judge(struct service_health *service)
{
    const struct hysteresis_rule rule = {.needed = (unsigned)service->settings->health_needed,
                                         .window = (unsigned)service->settings->health_window};
    struct health before = service->now;
    gint64 wait_us = service->asking ? g_get_monotonic_time() - service->asked : 0;
    const struct service_measure measure = {
        .state_full = service->state_full,
        .state_wait_s = wait_us / G_USEC_PER_SEC,
        .mta_unreachable = releaser_is_unheard(service->releaser),
        .queued = pool_queued(service->pool),
        .memory_used = service->budget->used,
        .memory_limit = service->budget->limit,
    };
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        enum health_level sample = service_health_judge((enum health_cause)i, &measure);
        service->now.level[i] = hysteresis_step(&service->causes[i], &rule, sample);
    }
    log_changes(&before, &service->now);
    write_file(service);
}

static int
full_work(struct state *state, void *data)
{
    struct service_health *service = data;
    service->seen_full = state_is_full(state);
    return 0;
}

static void
full_done(void *data, int result)
{
    struct service_health *service = data;
    if (result == 0) {
        service->state_full = service->seen_full;
    }
    service->asking = false;
}

static int
on_time(sd_event_source *source, uint64_t usec, void *data)
{
    struct service_health *service = data;
    (void)usec;
    judge(service);
    if (!service->asking) {
        service->asking = true;
        service->asked = g_get_monotonic_time();
        storage_submit_background(service->storage, full_work, full_done, service);
    }
    int rc = sd_event_source_set_time_relative(source, service->settings->health_interval *
                                                           (guint64)G_USEC_PER_SEC);
    return rc < 0 ? rc : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int
service_health_new(sd_event *event, const struct settings *settings, struct storage *storage,
                   struct pool *pool, const struct releaser *releaser,
                   const struct spool_budget *budget, struct service_health **ret)
{
    struct service_health *service = g_new0(struct service_health, 1);
    g_autofree char *run = g_path_get_dirname(settings->engine_dir);
    service->settings = settings;
    service->storage = storage;
    service->pool = pool;
    service->releaser = releaser;
    service->budget = budget;
    service->path = g_build_filename(run, FILE_NAME, NULL);
    int rc =
        sd_event_add_time_relative(event, &service->timer, CLOCK_BOOTTIME, 0, 0, on_time, service);
    if (rc < 0) {
        service_health_free(service);
        return rc;
    }
    *ret = service;
    return 0;
}

const struct health *
service_health_now(const struct service_health *service)
{
    return &service->now;
}

void
service_health_state_failed(struct service_health *service)
{
    service->now.level[HEALTH_STATE_ERROR] = HEALTH_YELLOW;
    service->keep_file = true;
    write_file(service);
}

void
service_health_free(struct service_health *service)
{
    if (service == NULL) {
        return;
    }
    sd_event_source_disable_unref(service->timer);
    if (!service->keep_file) {
        (void)unlink(service->path);
    }
    g_free(service->path);
    g_free(service->written);
    g_free(service);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "health-watch.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "hysteresis.h"
#include "log.h"

/* Every so many measures a page is written: often enough for a disk that dies, seldom enough for
 * one that would like to sleep. */
#define WRITE_EVERY 6U
/* A disk that takes longer to answer is no use. */
#define SILENCE_US (15 * G_TIME_SPAN_SECOND)
#define SMALL_PART 20U

struct health_watch {
    sd_event *event;
    char **places;
    unsigned interval_s;
    struct hysteresis_rule rule;
    struct health_limits limits;
    struct hysteresis causes[HEALTH_CAUSES];
    struct health_clock clock;
    struct health told;
    bool has_told;
    struct health_probe *probe;
    struct health_measure last;
    gint64 asked; /* monotonic; 0: no request is under way */
    unsigned count;
    sd_event_source *timer;
    sd_event_source *answer;
    health_changed *on_change;
    health_ask *on_ask;
    void *data;
};

/* The table */

static enum health_level
judge_pressure(const struct health_measure *m, const struct health_limits *l)
{
    if (m->pressure < 0 || m->pressure < l->pressure / 2) {
        return HEALTH_GREEN;
    }
    return m->pressure >= l->pressure ? HEALTH_RED : HEALTH_YELLOW;
}

static enum health_level
judge_memory(const struct health_measure *m, const struct health_limits *l)
{
    if (m->available == 0 || m->available >= l->memory + l->load) {
        return HEALTH_GREEN;
    }
    return m->available < l->memory ? HEALTH_RED : HEALTH_YELLOW;
}

static enum health_level
judge_room(const struct health_measure *m, const struct health_limits *l)
{
    enum health_level worst = m->no_inodes ? HEALTH_RED : HEALTH_GREEN;
    for (unsigned i = 0; i < HEALTH_PLACES_MAX; i++) {
        uint64_t wanted = MIN(l->storage, m->total[i] / SMALL_PART);
        if (m->room[i] < wanted) {
            return HEALTH_RED;
        }
        if (m->room[i] / 2 < wanted) {
            worst = MAX(worst, HEALTH_YELLOW);
        }
    }
    return worst;
}

static enum health_level
judge_readonly(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    if (m->readonly) {
        return HEALTH_RED;
    }
    return m->readonly_ever ? HEALTH_YELLOW : HEALTH_GREEN;
}

static enum health_level
judge_error(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    return m->error || m->silent ? HEALTH_RED : HEALTH_GREEN;
}

static enum health_level
judge_jumps(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    if (m->jumps >= HEALTH_JUMPS_RED) {
        return HEALTH_RED;
    }
    return m->jumps > 0 ? HEALTH_YELLOW : HEALTH_GREEN;
}

/* Just booted, or no time server to be reached: no reason to leave. */
static enum health_level
judge_unset(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    return m->clock_unset ? HEALTH_YELLOW : HEALTH_GREEN;
}

static enum health_level
judge_old(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    return m->old ? HEALTH_YELLOW : HEALTH_GREEN;
}

static enum health_level
judge_wait(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    return m->waits && !m->moves ? HEALTH_YELLOW : HEALTH_GREEN;
}

static enum health_level
judge_move(const struct health_measure *m, const struct health_limits *l)
{
    (void)l;
    return m->waits && m->moves ? HEALTH_YELLOW : HEALTH_GREEN;
}

typedef enum health_level judge(const struct health_measure *measure,
                                const struct health_limits *limits);
static judge *const judges[HEALTH_CAUSES] = {
    [HEALTH_MEMORY_PRESSURE] = judge_pressure, [HEALTH_MEMORY_SHORT] = judge_memory,
    [HEALTH_STORAGE_FULL] = judge_room,        [HEALTH_STORAGE_READONLY] = judge_readonly,
    [HEALTH_STORAGE_ERROR] = judge_error,      [HEALTH_CLOCK_JUMPS] = judge_jumps,
    [HEALTH_CLOCK_UNSET] = judge_unset,        [HEALTH_SIGNATURES_OLD] = judge_old,
    [HEALTH_SIGNATURES_WAIT] = judge_wait,     [HEALTH_SIGNATURES_MOVE] = judge_move,
};

enum health_level
health_judge(enum health_cause cause, const struct health_measure *measure,
             const struct health_limits *limits)
{
    return judges[cause] == NULL ? HEALTH_GREEN
                                 : MIN(judges[cause](measure, limits), health_cause_cap(cause));
}

unsigned
health_clock_step(struct health_clock *clock, int64_t offset_us, int64_t now_s)
{
    unsigned jumps = 0;
    int64_t change = offset_us - clock->offset_us;
    if (clock->begun && (change > HEALTH_JUMP_US || change < -HEALTH_JUMP_US)) {
        memmove(clock->jump_s + 1, clock->jump_s, sizeof clock->jump_s - sizeof *clock->jump_s);
        clock->jump_s[0] = now_s;
    }
    clock->begun = true;
    clock->offset_us = offset_us;
    for (unsigned i = 0; i < HEALTH_JUMPS_RED; i++) {
        if (clock->jump_s[i] > 0 && now_s - clock->jump_s[i] < HEALTH_JUMP_AGE_S) {
            jumps++;
        }
    }
    return jumps;
}

/* The object */

static void
tell(struct health_watch *watch, const struct health *now)
{
    if (watch->has_told && memcmp(now, &watch->told, sizeof *now) == 0) {
        return;
    }
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (now->level[i] != watch->told.level[i]) {
            log_notice("health: %s, was %s: %s%s", health_level_name(now->level[i]),
                       health_level_name(watch->told.level[i]),
                       now->level[i] == HEALTH_GREEN ? "no longer: " : "",
                       health_cause_text((enum health_cause)i));
        }
    }
    watch->told = *now;
    watch->has_told = true;
    watch->on_change(now, watch->data);
}

static void
take(struct health_watch *watch, struct health_measure *measure)
{
    struct health now = {{0}};
    struct health_signatures signatures = {0};
    watch->on_ask(&signatures, watch->data);
    watch->limits.load = signatures.memory;
    measure->old = signatures.old;
    measure->waits = signatures.waits;
    measure->moves = signatures.moves;
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (judges[i] != NULL) {
            enum health_level sample = health_judge((enum health_cause)i, measure, &watch->limits);
            now.level[i] = hysteresis_step(&watch->causes[i], &watch->rule, sample);
        }
    }
    tell(watch, &now);
}

static int64_t
now_s(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec + 1; /* never 0 */
}

static void
probe_drop(struct health_watch *watch)
{
    watch->answer = sd_event_source_disable_unref(watch->answer);
    health_probe_free(g_steal_pointer(&watch->probe));
    watch->asked = 0;
}

static int
on_answer(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct health_watch *watch = data;
    struct health_measure measure;
    (void)source;
    (void)fd;
    (void)events;
    int rc = health_probe_receive(watch->probe, &measure);
    if (rc == -EAGAIN) {
        return 0;
    }
    if (rc < 0) {
        log_warning("health: the measuring process is gone, another is started");
        probe_drop(watch);
        return 0;
    }
    watch->asked = 0;
    measure.jumps = health_clock_step(&watch->clock, measure.clock_us, now_s());
    watch->last = measure;
    take(watch, &measure);
    return 0;
}

static int
probe_start(struct health_watch *watch)
{
    int rc = health_probe_new((const char *const *)watch->places, &watch->probe);
    if (rc == 0) {
        rc = sd_event_add_io(watch->event, &watch->answer, health_probe_fd(watch->probe), EPOLLIN,
                             on_answer, watch);
    }
    if (rc < 0) {
        log_warning("health: this node cannot be measured: %s", g_strerror(-rc));
        probe_drop(watch);
    }
    return MIN(rc, 0);
}

static void
ask(struct health_watch *watch)
{
    gint64 now = g_get_monotonic_time();
    if (watch->probe == NULL && probe_start(watch) < 0) {
        return;
    }
    if (watch->asked == 0) {
        bool write = watch->count++ % WRITE_EVERY == 0;
        watch->asked = now;
        if (health_probe_request(watch->probe, write) < 0) {
            probe_drop(watch);
        }
    } else if (now - watch->asked >= SILENCE_US) {
        watch->last.silent = true;
        take(watch, &watch->last);
    }
}

static int
on_time(sd_event_source *source, uint64_t usec, void *data)
{
    struct health_watch *watch = data;
    (void)usec;
    ask(watch);
    int rc =
        sd_event_source_set_time_relative(source, (uint64_t)watch->interval_s * G_USEC_PER_SEC);
    return rc < 0 ? rc : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void
inherit(struct health_watch *watch, const struct health *before)
{
    for (unsigned i = 0; before != NULL && i < HEALTH_CAUSES; i++) {
        if (before->level[i] != HEALTH_GREEN) {
            hysteresis_begin(&watch->causes[i], before->level[i]);
        }
    }
    if (before != NULL) {
        watch->told = *before;
    }
}

int
health_watch_new(sd_event *event, const struct settings *settings, const struct health *before,
                 health_changed *on_change, health_ask *on_ask, void *data,
                 struct health_watch **ret)
{
    const char *places[] = {settings->engine_dir, settings->signatures_dir, "/var/tmp", NULL};
    struct health_watch *watch = g_new0(struct health_watch, 1);
    unsigned interval_s = (unsigned)settings->health_interval;
    *watch = (struct health_watch){
        .event = sd_event_ref(event),
        .places = g_strdupv((char **)(uintptr_t)places),
        .interval_s = interval_s,
        .rule = {.needed = (unsigned)settings->health_needed,
                 .window = (unsigned)settings->health_window,
                 .hold = (unsigned)settings->health_hold / interval_s},
        .limits = {.pressure = (double)settings->health_pressure,
                   .memory = settings->health_memory,
                   .storage = settings->health_storage},
        .on_change = on_change,
        .on_ask = on_ask,
        .data = data,
    };
    inherit(watch, before);
    int rc = sd_event_add_time_relative(event, &watch->timer, CLOCK_BOOTTIME, 0, 0, on_time, watch);
    if (rc < 0) {
        health_watch_free(watch);
        return rc;
    }
    *ret = watch;
    return 0;
}

void
health_watch_free(struct health_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    sd_event_source_disable_unref(watch->timer);
    probe_drop(watch);
    sd_event_unref(watch->event);
    g_strfreev(watch->places);
    g_free(watch);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* When an adoption begins: what is to be adopted, and what it waits for. */
#include "config.h"
#include "adoption-inner.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>

#include "log.h"
#include "nursery.h"
#include "text.h"

#define ERROR_MAX 400
#define LOOK_AGAIN_USEC (10 * 1000 * 1000ULL)
/* A directory that is not there yet, or is another by now. */
#define WATCH_AGAIN_USEC (60 * 1000 * 1000ULL)
#define HOLD_LONGEST_S 86400U

static int on_timer(sd_event_source *source, uint64_t usec, void *data);

void
adoption_set_timer(struct adoption *adoption, uint64_t usec)
{
    adoption->timer = sd_event_source_disable_unref(adoption->timer);
    int rc = sd_event_add_time_relative(adoption->engine->event, &adoption->timer, CLOCK_MONOTONIC,
                                        usec, 1, on_timer, adoption);
    if (rc < 0) {
        log_err("adoption: no timer: %s", g_strerror(-rc));
    }
}

void
adoption_forget_timers(struct adoption *adoption)
{
    adoption->watch = sd_event_source_disable_unref(adoption->watch);
    adoption->look = sd_event_source_disable_unref(adoption->look);
    adoption->timer = sd_event_source_disable_unref(adoption->timer);
}

/* --- beginning ------------------------------------------------------------------------------ */

void
adoption_quiet(struct engine *engine)
{
    struct adoption *adoption = engine->adoption;
    if (adoption->phase == PHASE_QUIET) {
        adoption->timer = sd_event_source_disable_unref(adoption->timer);
        adoption_make_room(adoption, "this is a quiet moment");
    }
}

/* Nobody has been attached for so long that it is not a posternd that is just being restarted. */
static bool
is_unused(const struct engine *engine)
{
    gint64 unused_us = clients_unattached_us(engine->clients);
    return unused_us >= (gint64)engine->settings->adopt_quiet * G_USEC_PER_SEC;
}

/* Until it is unused, or there may be memory. */
static uint64_t
look_again_in(const struct engine *engine)
{
    gint64 unused_us = clients_unattached_us(engine->clients);
    gint64 left_us = (gint64)engine->settings->adopt_quiet * G_USEC_PER_SEC - unused_us;
    bool will_be_unused = unused_us >= 0 && left_us > 0;
    return will_be_unused ? MIN((uint64_t)left_us + 1, LOOK_AGAIN_USEC) : LOOK_AGAIN_USEC;
}

static void
begin(struct adoption *adoption)
{
    const struct engine *engine = adoption->engine;
    bool may_pause = engine->settings->adopt_quiet > 0;
    g_autofree char *why = NULL;
    if (adoption->choice.broken != NULL) {
        log_err("generation %s cannot be loaded: %s: %s takes its place",
                adoption->choice.before != NULL ? adoption->choice.before : "(none)",
                adoption->choice.broken, adoption->choice.name);
    }
    /* What cannot be loaded takes no memory. */
    bool fits = supervisor_nursery(engine->supervisor) == NULL ||
                choice_fits(engine, &adoption->choice, &why);
    bool has_nothing = adoption->choice.is_untried && supervisor_failed(engine->supervisor);
    if (fits && adoption->choice.is_untried) {
        why = g_strdup(has_nothing ? "nothing else can be loaded"
                                   : "there is no memory to try it beside what is in use");
    }
    if (fits && !adoption->choice.is_untried) {
        adoption_load(adoption);
    } else if (has_nothing || (may_pause && is_unused(engine))) {
        adoption_make_room(adoption, why);
    } else {
        adoption_enter(adoption, may_pause ? PHASE_QUIET : PHASE_MEMORY, why);
        clients_adoption_done(engine->clients, adoption->choice.name, NULL, why);
        adoption_set_timer(adoption, look_again_in(engine));
    }
}

/* In a cluster passive nodes go first. */
static bool
waits_for_others(struct adoption *adoption)
{
    const struct choice *choice = &adoption->choice;
    if (choice->waits == NULL) {
        return false;
    }
    adoption_enter(adoption, PHASE_HOLD, choice->waits);
    adoption_set_timer(adoption, LOOK_AGAIN_USEC);
    return true;
}

/* It is begun later, if at all: for how long the last failure or who holds it want to wait. */
static bool
must_wait(struct adoption *adoption)
{
    gint64 now = g_get_monotonic_time();
    bool has_failed = g_strcmp0(adoption->failure.name, adoption->choice.name) == 0;
    const struct engine *engine = adoption->engine;
    if (evidence_is_busy(engine->evidence) || trial_runs(engine->trial)) {
        adoption_set_timer(adoption, LOOK_AGAIN_USEC);
        return true;
    }
    if (adoption->choice.by_order) {
        return false;
    }
    if (has_failed && now < adoption->failure.again_us) {
        choice_clear(&adoption->choice);
        adoption_enter(adoption, PHASE_NONE, NULL);
        adoption_set_timer(adoption, (uint64_t)(adoption->failure.again_us - now));
        return true;
    }
    if (now < adoption->held_until_us && !engine->report.test_only &&
        adoption->choice.broken == NULL) {
        adoption_enter(adoption, PHASE_HOLD, adoption->held_why);
        adoption_set_timer(adoption, (uint64_t)(adoption->held_until_us - now));
        return true;
    }
    return waits_for_others(adoption);
}

/* --- looking -------------------------------------------------------------------------------- */

/*
 * While nothing serves, the supervisor loads `current` anyway; at once, when it is another by now.
 * Only when that cannot be loaded at all a newer generation that was tried is adopted in its place.
 */
static bool
is_for_supervisor(const struct adoption *adoption, const struct nursery *serving)
{
    const struct engine *engine = adoption->engine;
    const struct choice *choice = &adoption->choice;
    if (choice->by_order) {
        return false;
    }
    if (serving == NULL && choice->is_set &&
        g_strcmp0(choice->name, engine->report.generation) != 0) {
        supervisor_start(engine->supervisor);
        return true;
    }
    if (choice->name == NULL) {
        return true;
    }
    bool is_hopeless = supervisor_failed(engine->supervisor) && !choice->is_set;
    return !is_hopeless && (serving == NULL || !nursery_is_loaded(serving));
}

/* What cannot be loaded at all counts as what serves: another one is looked for. */
static const char *
what_serves(const struct engine *engine)
{
    const struct nursery *serving = supervisor_nursery(engine->supervisor);
    return serving != NULL                         ? nursery_generation(serving)
           : supervisor_failed(engine->supervisor) ? engine->report.generation
                                                   : NULL;
}

/* There is a choice, if there is one. */
static void
decide(struct adoption *adoption)
{
    const struct nursery *serving = supervisor_nursery(adoption->engine->supervisor);
    if (is_for_supervisor(adoption, serving)) {
        choice_clear(&adoption->choice);
        adoption_enter(adoption, PHASE_NONE, NULL);
    } else if (!must_wait(adoption)) {
        begin(adoption);
    }
    bool is_owing = adoption->unnoted.name != NULL || adoption->damaged != NULL;
    if ((adoption->watch == NULL || is_owing) && adoption->timer == NULL &&
        !adoption_is_busy(adoption->engine)) {
        adoption_set_timer(adoption, WATCH_AGAIN_USEC);
    }
}

static void watch_dir(struct adoption *adoption);

static void
look(struct adoption *adoption)
{
    struct engine *engine = adoption->engine;
    if (engine->stopping || adoption_is_busy(engine)) {
        return;
    }
    if (adoption->asked != NULL) {
        adoption->look_again = true;
        return;
    }
    adoption->timer = sd_event_source_disable_unref(adoption->timer);
    if (adoption->choice.by_order) {
        decide(adoption);
    } else if (adoption_ask_look(adoption, what_serves(engine)) < 0) {
        adoption_set_timer(adoption, LOOK_AGAIN_USEC);
    }
}

/* What the look has done beside. */
static void
settle(struct adoption *adoption, const struct choice *choice)
{
    if (choice->is_noted) {
        adoption_noted(adoption);
    }
    if (choice->is_forgotten) {
        log_warning("generation %s: damaged after its trial: forgotten, to be taken again where it "
                    "is offered",
                    adoption->damaged);
        trial_consider(adoption->engine->trial);
    }
    if (choice->mended != NULL) {
        log_warning("generation %s: its files were damaged, and are taken from the offer again",
                    choice->mended);
        if (!adoption_is_busy(adoption->engine)) {
            supervisor_start(adoption->engine->supervisor);
        }
    }
    if (choice->is_settled) {
        g_clear_pointer(&adoption->damaged, g_free);
    }
}

void
adoption_looked(struct adoption *adoption, struct choice *choice, const char *why)
{
    const struct engine *engine = adoption->engine;
    bool again = adoption->look_again;
    adoption->look_again = false;
    if (choice == NULL) {
        log_warning("adoption: %s", why);
        adoption_set_timer(adoption, LOOK_AGAIN_USEC);
        return;
    }
    settle(adoption, choice);
    watch_dir(adoption);
    if (engine->stopping || adoption_is_busy(engine)) {
        choice_clear(choice);
    } else if (again || adoption->choice.by_order) {
        choice_clear(choice);
        look(adoption);
    } else {
        if (g_strcmp0(adoption->choice.name, choice->name) != 0) {
            adoption->began_us = g_get_monotonic_time();
        }
        choice_clear(&adoption->choice);
        adoption->choice = *choice;
        decide(adoption);
    }
}

static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    struct adoption *adoption = data;
    (void)source;
    (void)usec;
    adoption->timer = sd_event_source_disable_unref(adoption->timer);
    if (adoption->phase == PHASE_PROVING) {
        adoption_commit(adoption);
    } else if (adoption->phase == PHASE_TRYING) {
        adoption_look_at_trial(adoption);
    } else {
        look(adoption);
    }
    return 0;
}

static int
on_look(sd_event_source *source, void *data)
{
    (void)source;
    look(data);
    return 0;
}

bool
adoption_may_help(const struct engine *engine)
{
    const struct adoption *adoption = engine->adoption;
    int looks = SD_EVENT_OFF;
    if (adoption == NULL) {
        return false;
    }
    (void)sd_event_source_get_enabled(adoption->look, &looks);
    return looks != SD_EVENT_OFF || adoption->asked != NULL || adoption->phase >= PHASE_ROOM;
}

void
adoption_consider(struct engine *engine)
{
    if (engine->adoption != NULL && !engine->stopping) {
        (void)sd_event_source_set_enabled(engine->adoption->look, SD_EVENT_ONESHOT);
    }
}

/* --- watching ------------------------------------------------------------------------------- */

static int
on_watch(sd_event_source *source, const struct inotify_event *event, void *data)
{
    struct adoption *adoption = data;
    (void)source;
    if ((event->mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) {
        adoption->watch = sd_event_source_disable_unref(adoption->watch);
        adoption_consider(adoption->engine);
    } else if ((event->mask & IN_Q_OVERFLOW) != 0 || (event->len > 0 && event->name[0] != '.')) {
        adoption_consider(adoption->engine);
    }
    return 0;
}

/* When a process has just looked into it: to find it waits for the disk, too. What came in between
 * is seen by one more look. */
static void
watch_dir(struct adoption *adoption)
{
    const char *dir = adoption->engine->settings->signatures_dir;
    if (adoption->watch != NULL) {
        return;
    }
    int rc = sd_event_add_inotify(adoption->engine->event, &adoption->watch, dir,
                                  IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVE_SELF | IN_ONLYDIR,
                                  on_watch, adoption);
    if (rc < 0 && !adoption->has_complained) {
        log_warning("%s: cannot be watched: %s; it is looked at once a minute", dir,
                    g_strerror(-rc));
    }
    adoption->has_complained = rc < 0;
    if (rc >= 0) {
        adoption_consider(adoption->engine);
    }
}

int
adoption_watch(struct adoption *adoption)
{
    sd_event *event = adoption->engine->event;
    int rc = sd_event_add_defer(event, &adoption->look, on_look, adoption);
    return rc < 0 ? rc : sd_event_source_set_enabled(adoption->look, SD_EVENT_ONESHOT);
}

/* --- orders --------------------------------------------------------------------------------- */

/* What waits for memory gives way to another order. */
static bool
may_begin(const struct adoption *adoption)
{
    return adoption_waits_for_memory(adoption->engine) ||
           (!adoption_is_busy(adoption->engine) && !adoption->choice.by_order);
}

static int
already(const char *name, char **error_r)
{
    *error_r = g_strdup_printf("%s serves already", name);
    return -EALREADY;
}

static int
take_order(struct adoption *adoption, struct choice *choice, char **error_r)
{
    const struct nursery *serving = supervisor_nursery(adoption->engine->supervisor);
    bool serves = serving != NULL && nursery_is_loaded(serving) && choice->is_set &&
                  strcmp(choice->name, nursery_generation(serving)) == 0;
    if (serves) {
        int rc = already(choice->name, error_r);
        choice_clear(choice);
        return rc;
    }
    choice_clear(&adoption->choice);
    adoption->choice = *choice;
    adoption->began_us = g_get_monotonic_time();
    adoption_consider(adoption->engine);
    return 0;
}

/* Returns as adoption_request(). CHOICE is taken over. */
static int
take_or_join(struct adoption *adoption, struct choice *choice, char **error_r)
{
    int rc = 0;
    if (may_begin(adoption)) {
        return take_order(adoption, choice, error_r);
    }
    bool is_same = g_strcmp0(adoption->choice.name, choice->name) == 0;
    if (is_same && adoption->phase == PHASE_DRAINING) {
        rc = already(choice->name, error_r);
    } else if (!is_same || adoption->phase == PHASE_FAILING) {
        rc = -EBUSY;
        *error_r = g_strdup_printf("generation %s is just being adopted; ask again",
                                   adoption->choice.name);
    }
    choice_clear(choice);
    return rc;
}

void
adoption_ordered(struct adoption *adoption, int rc, struct choice *choice, const char *error)
{
    g_autofree char *text = g_strdup(error);
    if (rc == 0) {
        rc = take_or_join(adoption, choice, &text);
    } else {
        choice_clear(choice);
    }
    if (rc < 0) {
        log_notice("adoption: not as ordered: %s", text);
    }
    clients_order_taken(adoption->engine->clients, rc < 0 ? text : NULL);
}

int
adoption_request(struct engine *engine, const struct adoption_request *request, char **error_r)
{
    int rc = adoption_ask_order(engine->adoption, request);
    if (rc < 0) {
        *error_r = rc == -EBUSY ? g_strdup("another order is just being looked at; ask again")
                                : g_strdup_printf("cannot be looked at: %s", g_strerror(-rc));
    }
    return rc;
}

void
adoption_hold(struct engine *engine, uint64_t seconds, const char *why)
{
    struct adoption *adoption = engine->adoption;
    gint64 usec = (gint64)MIN(seconds, HOLD_LONGEST_S) * G_USEC_PER_SEC;
    g_autofree char *safe = text_escape(why, ERROR_MAX);
    adoption->held_until_us = seconds == 0 ? 0 : g_get_monotonic_time() + usec;
    report_set_text(&adoption->held_why, safe);
    adoption_consider(engine);
}

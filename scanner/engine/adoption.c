/* SPDX-License-Identifier: GPL-2.0-only */
/* From a choice to the generation that serves; adoption-when.c says when. */
#include "config.h"
#include "adoption-inner.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "launch.h"
#include "log.h"
#include "nursery.h"
#include "text.h"

#define ERROR_MAX 400
/* A set of 8 million takes half a minute; a slow disk and a busy node many times that. */
#define LOAD_SECONDS 1800
/* Who holds the store's lock does so for as long as a copy takes. */
#define COMMIT_AGAIN_USEC (200 * 1000ULL)
#define COMMITS_MAX 600
/* Nothing is scanned meanwhile; and a trial that does not begin is not waited for. */
#define TRIAL_LOOK_USEC (200 * 1000ULL)
#define TRIAL_LOOKS_MAX 100
/* What a look says may be older than the end. */
#define TRIAL_LOOKS_AFTER 3
/* After a failure: a minute, then ten times as long, at most a day. */
#define FAILED_FIRST_S 60
#define FAILED_LONGEST_S 86400
/* A quiet moment that does not come within the hour may be shorter, and so on. */
#define QUIET_HALVES_US (3600LL * G_USEC_PER_SEC)

static const struct {
    const char *word;
    const char *text;
} phases[] = {
    [PHASE_NONE] = {"none", ""},
    [PHASE_HOLD] = {"hold", "the update waits for other nodes"},
    [PHASE_MEMORY] = {"memory", "the update waits for memory"},
    [PHASE_QUIET] = {"quiet", "the update waits for memory, or for a quiet moment"},
    [PHASE_ROOM] = {"room", "no scanning: the old signatures make room for the new"},
    [PHASE_TRYING] = {"trying", "no scanning: the new signatures are tried"},
    [PHASE_LOADING] = {"loading", "the new signatures are loaded"},
    [PHASE_PROVING] = {"proving", "the first new worker is proved"},
    [PHASE_DRAINING] = {"draining", "workers of before end, as they become idle"},
    [PHASE_FAILING] = {"failing", "the new signatures are given up"},
};

/* --- telling -------------------------------------------------------------------------------- */

/* Seconds without a scan that posternd is to wait for. */
static gint64
quiet_seconds(const struct adoption *adoption)
{
    gint64 waited_us = g_get_monotonic_time() - adoption->began_us;
    gint64 quiet = (gint64)adoption->engine->settings->adopt_quiet;
    if (adoption->phase != PHASE_QUIET) {
        return 0;
    }
    return MAX(quiet >> MIN(waited_us / QUIET_HALVES_US, 16), 1);
}

static json_t *
phase_json(const struct adoption *adoption, const char *why)
{
    gint64 age_s = (g_get_monotonic_time() - adoption->began_us) / G_USEC_PER_SEC;
    if (adoption->phase == PHASE_NONE || adoption->choice.name == NULL) {
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:s?, s:I, s:b, s:I}", "generation", adoption->choice.name,
                     "phase", phases[adoption->phase].word, "text", phases[adoption->phase].text,
                     "why", why, "began", (json_int_t)time(NULL) - (json_int_t)age_s, "pauses",
                     adoption->pauses, "quiet", (json_int_t)quiet_seconds(adoption));
}

void
adoption_enter(struct adoption *adoption, enum adoption_phase phase, const char *why)
{
    struct report *report = &adoption->engine->report;
    bool is_new = phase != adoption->phase;
    adoption->phase = phase;
    json_decref(report->adoption);
    report->adoption = phase_json(adoption, why);
    if (is_new && phase != PHASE_NONE) {
        log_notice("generation %s: %s%s%s", adoption->choice.name, phases[phase].text,
                   why != NULL ? ": " : "", why != NULL ? why : "");
    }
    engine_changed(adoption->engine);
}

bool
adoption_is_busy(const struct engine *engine)
{
    return engine->adoption != NULL && engine->adoption->phase >= PHASE_ROOM;
}

bool
adoption_pauses(const struct engine *engine)
{
    return engine->adoption != NULL && engine->adoption->pauses &&
           engine->adoption->phase < PHASE_DRAINING;
}

bool
adoption_waits_for_memory(const struct engine *engine)
{
    const struct adoption *adoption = engine->adoption;
    return adoption != NULL && (adoption->phase == PHASE_MEMORY || adoption->phase == PHASE_QUIET);
}

/* Back to where nothing is adopted, and a look at what else there is. */
static void
finish(struct adoption *adoption)
{
    choice_clear(&adoption->choice);
    adoption->pauses = false;
    adoption_enter(adoption, PHASE_NONE, NULL);
    adoption_consider(adoption->engine);
}

/* --- failing -------------------------------------------------------------------------------- */

static void
note_failure(struct adoption *adoption, const char *why)
{
    struct report *report = &adoption->engine->report;
    bool is_same = g_strcmp0(adoption->failure.name, adoption->choice.name) == 0;
    gint64 pause_s = FAILED_FIRST_S;
    adoption->failure.count = is_same ? adoption->failure.count + 1 : 1;
    for (unsigned i = 1; i < adoption->failure.count && pause_s < FAILED_LONGEST_S; i++) {
        pause_s *= 10;
    }
    pause_s = MIN(pause_s, FAILED_LONGEST_S);
    adoption->failure.again_us = g_get_monotonic_time() + pause_s * G_USEC_PER_SEC;
    report_set_text(&adoption->failure.name, adoption->choice.name);
    json_decref(report->refusal);
    report->refusal = json_pack("{s:s, s:s, s:I}", "generation", adoption->failure.name, "error",
                                why, "time", (json_int_t)time(NULL));
    log_err("generation %s is not adopted: %s; %s stays; tried again in %" G_GINT64_FORMAT " s",
            adoption->failure.name, why, report->generation, pause_s);
}

/* The new zygote is gone. */
static void
failed(struct adoption *adoption)
{
    bool pauses = adoption->pauses;
    finish(adoption);
    if (pauses) {
        supervisor_start(adoption->engine->supervisor);
    }
}

static void
fail(struct adoption *adoption, const char *why)
{
    g_autofree char *safe = text_escape(why, ERROR_MAX);
    adoption->timer = sd_event_source_disable_unref(adoption->timer);
    aside_forget(&adoption->asked);
    trial_withdraw(adoption->engine->trial);
    note_failure(adoption, safe);
    clients_adoption_done(adoption->engine->clients, adoption->choice.name, safe, NULL);
    if (adoption->next != NULL) {
        adoption_enter(adoption, PHASE_FAILING, safe);
        nursery_kill(adoption->next, NULL);
    } else {
        failed(adoption);
    }
}

/* --- the old one ---------------------------------------------------------------------------- */

static void
on_worker_forked(struct nursery *nursery, uint64_t number, int pidfd, void *data)
{
    struct adoption *adoption = data;
    (void)nursery;
    if (!evidence_forked(adoption->engine->evidence, number, pidfd)) {
        crew_forked(adoption->engine->crew, number, pidfd);
    }
}

static void
on_worker_exited(struct nursery *nursery, uint64_t number, int status, void *data)
{
    struct adoption *adoption = data;
    (void)nursery;
    if (!evidence_exited(adoption->engine->evidence, number, status)) {
        crew_exited(adoption->engine->crew, number, status);
    }
}

static void
on_old_loaded(struct nursery *nursery, void *data)
{
    (void)nursery;
    (void)data;
}

static void
on_old_ended(struct nursery *nursery, const char *why, void *data)
{
    struct adoption *adoption = data;
    (void)why;
    adoption->old = NULL;
    crew_lost(adoption->engine->crew, nursery);
    log_notice("generation %s: its zygote has ended", nursery_generation(nursery));
    nursery_free(nursery);
    if (!adoption->engine->stopping) {
        finish(adoption);
    }
}

static const struct nursery_ops old_ops = {
    .loaded = on_old_loaded,
    .forked = on_worker_forked,
    .exited = on_worker_exited,
    .ended = on_old_ended,
};

void
adoption_make_room(struct adoption *adoption, const char *why)
{
    struct engine *engine = adoption->engine;
    adoption->pauses = true;
    log_warning("generation %s: %s: there is no scanning until it is loaded", adoption->choice.name,
                why);
    adoption_enter(adoption, PHASE_ROOM, why);
    supervisor_expect_room(engine->supervisor);
    crew_dismiss(engine->crew);
    adoption_worker_left(engine);
}

void
adoption_worker_left(struct engine *engine)
{
    struct adoption *adoption = engine->adoption;
    const struct nursery *serving = supervisor_nursery(engine->supervisor);
    if (adoption == NULL || engine->stopping) {
        return;
    }
    if (adoption->phase == PHASE_DRAINING && adoption->old != NULL &&
        crew_left(engine->crew, adoption->old) == 0) {
        nursery_kill(adoption->old, NULL);
    }
    if (adoption->phase == PHASE_ROOM &&
        (serving == NULL || crew_left(engine->crew, serving) == 0)) {
        supervisor_make_room(engine->supervisor);
    }
}

static void prove(struct adoption *adoption);

/* With the zygote that was tried, where there is one. */
static void
go_on(struct adoption *adoption)
{
    if (adoption->next != NULL) {
        prove(adoption);
    } else {
        adoption_load(adoption);
    }
}

/* Where two do not fit the trial had to wait for this pause. */
static void
try_first(struct adoption *adoption)
{
    g_autofree char *error = NULL;
    adoption_enter(adoption, PHASE_TRYING, NULL);
    adoption->idle = 0;
    adoption->has_run = false;
    if (trial_request(adoption->engine->trial, adoption->choice.name, true, &error) < 0) {
        fail(adoption, error);
    } else {
        adoption_set_timer(adoption, TRIAL_LOOK_USEC);
    }
}

void
adoption_look_at_trial(struct adoption *adoption)
{
    if (adoption_ask_trial(adoption) < 0) {
        adoption_set_timer(adoption, TRIAL_LOOK_USEC);
    }
}

void
adoption_trial_told(struct adoption *adoption, enum record_state state, const char *reason)
{
    bool runs = trial_runs(adoption->engine->trial);
    adoption->idle = runs ? 0 : adoption->idle + 1;
    if (!runs && (state == RECORD_TRIED || state == RECORD_ADOPTED)) {
        adoption->choice.is_untried = false;
        trial_withdraw(adoption->engine->trial);
        go_on(adoption);
    } else if (!runs && state == RECORD_REJECTED) {
        fail(adoption, reason != NULL ? reason : "it is rejected");
    } else if (adoption->idle >= (adoption->has_run ? TRIAL_LOOKS_AFTER : TRIAL_LOOKS_MAX)) {
        fail(adoption, "its trial came to nothing");
    } else {
        adoption_set_timer(adoption, TRIAL_LOOK_USEC);
    }
}

void
adoption_trial_ended(struct engine *engine)
{
    engine->adoption->has_run = true;
}

void
adoption_room_made(struct engine *engine)
{
    struct adoption *adoption = engine->adoption;
    if (adoption->phase == PHASE_ROOM && adoption->choice.is_untried) {
        try_first(adoption);
    } else if (adoption->phase == PHASE_ROOM) {
        adoption_load(adoption);
    }
}

/* --- the new one ---------------------------------------------------------------------------- */

/* What should have served, and why it does not, and what is UNWRITTEN (NULL: nothing); NULL: it
 * does. */
static json_t *
refusal_of_before(const struct choice *choice, const char *unwritten)
{
    if (choice->broken == NULL || (choice->before == NULL && unwritten == NULL)) {
        return NULL;
    }
    g_autofree char *error =
        g_strdup_printf("%s%s%s", choice->broken, unwritten != NULL ? "; " : "",
                        unwritten != NULL ? unwritten : "");
    return json_pack("{s:s, s:s, s:I}", "generation",
                     choice->before != NULL ? choice->before : "(none)", "error", error, "time",
                     (json_int_t)time(NULL));
}

/* `current` could not be changed, for WHY. Returns that as a sentence, to be freed. */
static char *
note_unwritten(struct adoption *adoption, const char *why)
{
    const struct choice *choice = &adoption->choice;
    char *text = g_strdup_printf("generation %s serves, but %s/current cannot be changed to it: %s",
                                 choice->name, adoption->engine->settings->signatures_dir,
                                 why != NULL ? why : "unknown");
    log_err("%s; tried again each minute", text);
    adoption->unnoted = (struct choice){.name = g_strdup(choice->name),
                                        .before = g_strdup(choice->before),
                                        .broken = g_strdup(choice->broken),
                                        .fault = choice->fault};
    return text;
}

void
adoption_noted(struct adoption *adoption)
{
    struct engine *engine = adoption->engine;
    log_notice("generation %s: `current` leads to it now", adoption->unnoted.name);
    json_decref(engine->report.refusal);
    engine->report.refusal = refusal_of_before(&adoption->unnoted, NULL);
    choice_clear(&adoption->unnoted);
    engine_changed(engine);
}

/* Whoever scans hears of the new generation before he gets a worker of it. */
static void
switch_over(struct adoption *adoption, const char *unwritten)
{
    struct engine *engine = adoption->engine;
    struct report *report = &engine->report;
    g_autofree char *name = g_strdup(adoption->choice.name);
    struct nursery *next = g_steal_pointer(&adoption->next);
    adoption->old = supervisor_take(engine->supervisor, next, &adoption->choice.about);
    json_decref(report->refusal);
    report->refusal = refusal_of_before(&adoption->choice, unwritten);
    g_clear_pointer(&adoption->failure.name, g_free);
    if (adoption->old != NULL) {
        nursery_give(adoption->old, &old_ops, adoption);
        adoption_enter(adoption, PHASE_DRAINING, NULL);
    } else {
        adoption->phase = PHASE_DRAINING;
        engine_changed(engine);
    }
    crew_switch(engine->crew);
    log_notice("generation %s: adopted, %.1f s after it was begun", name,
               (double)(g_get_monotonic_time() - adoption->began_us) / G_USEC_PER_SEC);
    clients_adoption_done(engine->clients, name, NULL, NULL);
    if (adoption->old == NULL) {
        finish(adoption);
    } else {
        adoption_worker_left(engine);
    }
}

void
adoption_commit(struct adoption *adoption)
{
    int rc = adoption_ask_commit(adoption);
    if (rc < 0) {
        adoption_committed(adoption, rc, NULL);
    }
}

void
adoption_committed(struct adoption *adoption, int rc, const char *text)
{
    if (adoption->phase != PHASE_PROVING || adoption->engine->stopping) {
        return;
    }
    if (rc == -EBUSY && adoption->commits++ < COMMITS_MAX) {
        adoption_set_timer(adoption, COMMIT_AGAIN_USEC);
    } else if (rc < 0) {
        fail(adoption, text != NULL ? text : "`current` cannot be set");
    } else {
        choice_clear(&adoption->unnoted);
        if (rc == 0 && text != NULL) {
            log_warning("generation %s: %s", adoption->choice.name, text);
        }
        g_autofree char *unwritten = rc > 0 ? note_unwritten(adoption, text) : NULL;
        switch_over(adoption, unwritten);
    }
}

void
adoption_proved(struct engine *engine)
{
    engine->adoption->commits = 0;
    adoption_commit(engine->adoption);
}

void
adoption_disproved(struct engine *engine, const char *why)
{
    struct adoption *adoption = engine->adoption;
    if (adoption->phase == PHASE_PROVING) {
        g_autofree char *text = g_strdup_printf("its first worker: %s", why);
        fail(adoption, text);
    }
}

static void
prove(struct adoption *adoption)
{
    adoption_enter(adoption, PHASE_PROVING, NULL);
    int rc = crew_prove(adoption->engine->crew, adoption->next);
    if (rc < 0) {
        g_autofree char *text = g_strdup_printf("no worker of it: %s", g_strerror(-rc));
        fail(adoption, text);
    }
}

static void
on_next_loaded(struct nursery *nursery, void *data)
{
    struct adoption *adoption = data;
    (void)nursery;
    if (adoption->phase == PHASE_LOADING) {
        prove(adoption);
    }
}

static void
on_next_ended(struct nursery *nursery, const char *why, void *data)
{
    struct adoption *adoption = data;
    const struct choice *choice = &adoption->choice;
    bool is_known = adoption->phase == PHASE_FAILING;
    g_autofree char *text = g_strdup(why);
    if (nursery_fault(nursery) == NURSERY_FAULT_DAMAGED && !choice->is_set && !choice->by_order) {
        report_set_text(&adoption->damaged, choice->name);
    }
    adoption->next = NULL;
    /* Its worker's end must not be heard as a second reason. */
    adoption->phase = PHASE_FAILING;
    crew_lost(adoption->engine->crew, nursery);
    nursery_free(nursery);
    if (adoption->engine->stopping) {
        return;
    }
    if (is_known) {
        failed(adoption);
    } else {
        fail(adoption, text);
    }
}

static const struct nursery_ops next_ops = {
    .loaded = on_next_loaded,
    .forked = on_worker_forked,
    .exited = on_worker_exited,
    .ended = on_next_ended,
};

void
adoption_load(struct adoption *adoption)
{
    g_autofree char *error = NULL;
    /* Which may have failed for want of time. */
    bool is_again = g_strcmp0(adoption->failure.name, adoption->choice.name) == 0;
    const struct nursery_plan plan = {
        .name = adoption->choice.name,
        .path = adoption->choice.path,
        .beside = supervisor_loaded(adoption->engine->supervisor) && !is_again,
        .seconds = LOAD_SECONDS,
    };
    adoption_enter(adoption, PHASE_LOADING, NULL);
    if (nursery_new(adoption->engine, &plan, &next_ops, adoption, &adoption->next, &error) < 0) {
        fail(adoption, error);
    }
}

void
adoption_take_tried(struct engine *engine, struct launched *zygote, json_t *loaded)
{
    struct adoption *adoption = engine->adoption;
    const char *name = json_string_value(json_object_get(loaded, "generation"));
    g_autofree char *error = NULL;
    if (engine->stopping || adoption->phase != PHASE_TRYING || adoption->next != NULL ||
        g_strcmp0(name, adoption->choice.name) != 0) {
        launch_end(zygote);
        return;
    }
    const struct nursery_plan plan = {.name = adoption->choice.name, .path = adoption->choice.path};
    if (nursery_take(engine, &plan, zygote, loaded, &next_ops, adoption, &adoption->next, &error) <
        0) {
        log_warning("generation %s: %s: it is loaded once more", name, error);
    }
}

/* --- the object ----------------------------------------------------------------------------- */

int
adoption_new(struct engine *engine, struct adoption **ret, char **error_r)
{
    struct adoption *adoption = g_new0(struct adoption, 1);
    adoption->engine = engine;
    int rc = adoption_watch(adoption);
    if (rc < 0) {
        *error_r = g_strdup_printf("no adoption of signatures: %s", g_strerror(-rc));
        adoption_free(adoption);
        return rc;
    }
    *ret = adoption;
    return 0;
}

void
adoption_free(struct adoption *adoption)
{
    if (adoption == NULL) {
        return;
    }
    nursery_free(adoption->next);
    nursery_free(adoption->old);
    aside_forget(&adoption->asked);
    aside_forget(&adoption->order);
    adoption_forget_timers(adoption);
    choice_clear(&adoption->choice);
    choice_clear(&adoption->unnoted);
    g_free(adoption->damaged);
    g_free(adoption->failure.name);
    g_free(adoption->held_why);
    g_free(adoption);
}

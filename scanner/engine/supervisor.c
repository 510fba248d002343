/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "supervisor.h"

#include <errno.h>

#include "aside.h"
#include "engine.h"
#include "generation.h"
#include "launch.h"
#include "log.h"
#include "nursery.h"
#include "orders.h"
#include "text.h"

#define RETRY_FIRST_USEC (100 * 1000ULL)
#define RETRY_FAILED_USEC (60 * 1000 * 1000ULL)
/* A zygote that ends sooner after its load counts as a failure, else it would spin. */
#define SETTLED_USEC (10 * 1000 * 1000LL)
#define ERROR_MAX 400

struct supervisor {
    struct engine *engine;
    struct nursery *nursery;       /* NULL: none */
    struct aside *asked;           /* where `current` leads; NULL: nothing is asked */
    struct generation_about about; /* without its manifest */
    sd_event_source *retry;
    bool started_before;
    bool had_generation; /* not the built-in signature alone */
    bool was_loaded;     /* the one that serves, or served last */
    gint64 loaded_us;
    bool makes_room;
    unsigned failures; /* in a row */
    enum nursery_fault fault;
};

static void attempt(struct supervisor *supervisor);
static void schedule(struct supervisor *supervisor);

struct supervisor *
supervisor_new(struct engine *engine, char **error_r)
{
    g_autofree char *program = nursery_program(error_r);
    if (program == NULL) {
        return NULL;
    }
    struct supervisor *supervisor = g_new0(struct supervisor, 1);
    supervisor->engine = engine;
    return supervisor;
}

void
supervisor_free(struct supervisor *supervisor)
{
    if (supervisor == NULL) {
        return;
    }
    aside_forget(&supervisor->asked);
    nursery_free(supervisor->nursery);
    sd_event_source_disable_unref(supervisor->retry);
    g_free(supervisor);
}

/* Starting again */

static int
on_retry(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct supervisor *supervisor = data;
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
    /* Memory is for one of them. */
    if (supervisor_failed(supervisor) && adoption_is_busy(supervisor->engine)) {
        schedule(supervisor);
    } else {
        attempt(supervisor);
    }
    return 0;
}

static uint64_t
retry_delay(const struct supervisor *supervisor)
{
    if (supervisor->failures == 0) {
        return 0;
    }
    if (supervisor->failures >= SUPERVISOR_PATIENCE) {
        return RETRY_FAILED_USEC;
    }
    return RETRY_FIRST_USEC << (supervisor->failures - 1);
}

static void
schedule(struct supervisor *supervisor)
{
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
    int rc =
        sd_event_add_time_relative(supervisor->engine->event, &supervisor->retry, CLOCK_MONOTONIC,
                                   retry_delay(supervisor), 1, on_retry, supervisor);
    if (rc < 0) {
        log_err("zygote: cannot be started again: %s", g_strerror(-rc));
        sd_event_exit(supervisor->engine->event, rc);
    }
}

/* The zygote ended, or could not be started, for REASON. */
static void
count_failure(struct supervisor *supervisor, const char *reason)
{
    bool settled =
        supervisor->was_loaded && g_get_monotonic_time() - supervisor->loaded_us >= SETTLED_USEC;
    supervisor->failures = supervisor->fault != NURSERY_FAULT_NONE ? SUPERVISOR_PATIENCE
                           : settled                               ? 0
                                                                   : supervisor->failures + 1;
    g_autofree char *safe = text_escape(reason, ERROR_MAX);
    log_err("zygote: %s%s", safe,
            supervisor->failures >= SUPERVISOR_PATIENCE ? "; next attempt in a minute" : "");
    report_set_text(&supervisor->engine->report.error, safe);
    if (supervisor_failed(supervisor)) {
        adoption_consider(supervisor->engine);
    }
    engine_changed(supervisor->engine);
    schedule(supervisor);
}

/* What the zygote says */

static void
warn_about(const struct supervisor *supervisor)
{
    if (nursery_is_builtin(supervisor->nursery)) {
        log_warning("ONLY THE BUILT-IN TEST SIGNATURE (EICAR) IS LOADED: no virus will be found; "
                    "%s/current is missing",
                    supervisor->engine->settings->signatures_dir);
    }
    if (launch_one_user()) {
        log_warning("sandbox: all workers share one user number; start postern-engine with "
                    "CAP_SETUID and CAP_SETGID for one each");
    }
    if (nursery_said(supervisor->nursery)->landlock <= 0) {
        log_warning("sandbox: this kernel offers no landlock; workers are held by their user, "
                    "their root and seccomp alone");
    }
}

/* What serves is what the engine reports: also how old it is, for who warns, and which database,
 * for clamd's clients. */
static void
tell(struct supervisor *supervisor, const struct generation_about *about)
{
    struct report *report = &supervisor->engine->report;
    const struct nursery *nursery = supervisor->nursery;
    const struct nursery_loaded *said = nursery_said(nursery);
    g_autofree char *sandbox =
        g_strconcat(said->sandbox, ", ", supervisor->engine->groups_text, NULL);
    supervisor->was_loaded = true;
    supervisor->loaded_us = nursery_loaded_us(nursery);
    report_set_text(&report->generation, nursery_generation(nursery));
    report_set_text(&report->sandbox, sandbox);
    report_set_text(&report->error, NULL);
    report->memory = said->memory;
    report->signatures = said->signatures;
    report->test_only = nursery_is_builtin(nursery);
    supervisor->had_generation = supervisor->had_generation || !report->test_only;
    report->load_seconds = said->load_seconds;
    report->newest = about->newest;
    report->database = about->database;
    report->database_time = about->database_time;
    log_info("sandbox: %s", sandbox);
    warn_about(supervisor);
}

static void
on_loaded(struct nursery *nursery, void *data)
{
    struct supervisor *supervisor = data;
    tell(supervisor, &supervisor->about);
    crew_start(supervisor->engine->crew, nursery);
    engine_changed(supervisor->engine);
    adoption_consider(supervisor->engine);
}

static void
on_forked(struct nursery *nursery, uint64_t number, int pidfd, void *data)
{
    struct supervisor *supervisor = data;
    (void)nursery;
    if (!evidence_forked(supervisor->engine->evidence, number, pidfd)) {
        crew_forked(supervisor->engine->crew, number, pidfd);
    }
}

static void
on_exited(struct nursery *nursery, uint64_t number, int status, void *data)
{
    struct supervisor *supervisor = data;
    (void)nursery;
    if (!evidence_exited(supervisor->engine->evidence, number, status)) {
        crew_exited(supervisor->engine->crew, number, status);
    }
}

static void
on_ended(struct nursery *nursery, const char *why, void *data)
{
    struct supervisor *supervisor = data;
    struct engine *engine = supervisor->engine;
    supervisor->nursery = NULL;
    supervisor->fault = nursery_fault(nursery);
    crew_lost(engine->crew, nursery);
    evidence_lost(engine->evidence, nursery);
    if (supervisor->makes_room && !engine->stopping) {
        engine_changed(engine);
        adoption_room_made(engine);
    } else if (!engine->stopping) {
        count_failure(supervisor, why);
    }
    nursery_free(nursery);
}

static const struct nursery_ops ops = {
    .loaded = on_loaded,
    .forked = on_forked,
    .exited = on_exited,
    .ended = on_ended,
};

/* Starting */

static int
launch(struct supervisor *supervisor, const struct generation *generation, char **error_r)
{
    const struct nursery_plan plan = {
        .name = generation->name,
        .path = generation->path,
    };
    return nursery_new(supervisor->engine, &plan, &ops, supervisor, &supervisor->nursery, error_r);
}

/* In a process of its own (aside.h): the disk may hang, and that nothing is scanned is to be told.
 */
static json_t *
work_resolve(const struct engine *engine, const void *task)
{
    const char *dir = engine->settings->signatures_dir;
    struct generation generation;
    struct generation_about about;
    g_autofree char *error = NULL;
    (void)task;
    if (generation_resolve(dir, &generation, &error) == 0 && generation.name == NULL) {
        error = generation_missing(dir, engine->supervisor->had_generation);
    }
    if (error != NULL) {
        g_autofree char *safe = text_escape(error, ERROR_MAX);
        return json_pack("{s:s}", "error", safe);
    }
    generation_look(generation.path, &about);
    json_t *told = json_pack("{s:s?, s:I, s:i, s:I}", "name", generation.name, "newest",
                             (json_int_t)about.newest, "database", (int)about.database,
                             "database_time", (json_int_t)about.database_time);
    generation_about_clear(&about);
    generation_clear(&generation);
    return told;
}

static int
begin(struct supervisor *supervisor, const json_t *told, char **error_r)
{
    struct engine *engine = supervisor->engine;
    const char *name = json_string_value(json_object_get(told, "name"));
    g_autofree char *path =
        name != NULL ? g_build_filename(engine->settings->signatures_dir, name, NULL) : NULL;
    const struct generation generation = {.name = (char *)(uintptr_t)name, .path = path};
    supervisor->about = (struct generation_about){
        .newest = json_integer_value(json_object_get(told, "newest")),
        .database = (guint)json_integer_value(json_object_get(told, "database")),
        .database_time = json_integer_value(json_object_get(told, "database_time")),
    };
    report_set_text(&engine->report.generation, name != NULL ? name : "builtin");
    return launch(supervisor, &generation, error_r);
}

static void
on_resolved(const json_t *told, const char *why, void *data)
{
    struct supervisor *supervisor = data;
    const char *error = told != NULL ? json_string_value(json_object_get(told, "error")) : why;
    g_autofree char *text = g_strdup(error);
    if (supervisor->engine->stopping) {
        return;
    }
    if (error != NULL || begin(supervisor, told, &text) < 0) {
        count_failure(supervisor, text);
        return;
    }
    engine_changed(supervisor->engine);
}

static void
attempt(struct supervisor *supervisor)
{
    const struct aside_plan plan = {.work = work_resolve, .done = on_resolved, .data = supervisor};
    if (supervisor->asked != NULL) {
        return;
    }
    if (supervisor->started_before) {
        supervisor->engine->report.restarts++;
    }
    supervisor->started_before = true;
    supervisor->was_loaded = false;
    supervisor->fault = NURSERY_FAULT_NONE;
    int rc = aside_start(supervisor->engine, &plan, &supervisor->asked);
    if (rc < 0) {
        count_failure(supervisor, rc == -EBUSY ? "the disk of signatures_dir does not answer"
                                               : g_strerror(-rc));
    }
}

void
supervisor_start(struct supervisor *supervisor)
{
    supervisor->makes_room = false;
    if (supervisor->nursery == NULL) {
        supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
        attempt(supervisor);
    }
}

bool
supervisor_loaded(const struct supervisor *supervisor)
{
    return supervisor->nursery != NULL && nursery_is_loaded(supervisor->nursery);
}

bool
supervisor_failed(const struct supervisor *supervisor)
{
    return supervisor->failures >= SUPERVISOR_PATIENCE && !supervisor_loaded(supervisor);
}

enum nursery_fault
supervisor_fault(const struct supervisor *supervisor)
{
    return supervisor->fault;
}

struct nursery *
supervisor_nursery(const struct supervisor *supervisor)
{
    return supervisor->nursery;
}

struct nursery *
supervisor_take(struct supervisor *supervisor, struct nursery *next,
                const struct generation_about *about)
{
    struct nursery *before = supervisor->nursery;
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
    aside_forget(&supervisor->asked);
    supervisor->makes_room = false;
    supervisor->failures = 0;
    supervisor->fault = NURSERY_FAULT_NONE;
    supervisor->nursery = next;
    nursery_give(next, &ops, supervisor);
    tell(supervisor, about);
    return before;
}

void
supervisor_expect_room(struct supervisor *supervisor)
{
    supervisor->makes_room = true;
    aside_forget(&supervisor->asked);
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
}

void
supervisor_make_room(struct supervisor *supervisor)
{
    supervisor_expect_room(supervisor);
    if (supervisor->nursery != NULL) {
        nursery_kill(supervisor->nursery, NULL);
    } else {
        adoption_room_made(supervisor->engine);
    }
}

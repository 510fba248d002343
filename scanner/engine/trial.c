/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "trial.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adoption.h"
#include "engine.h"
#include "handed.h"
#include "log.h"
#include "nursery.h"
#include "packet.h"
#include "text.h"
#include "trial-process.h"
#include "watches.h"
#include "zygote.h"

#define TEXT_SHOWN 500
#define SOON_USEC (500 * 1000ULL)
#define BUSY_USEC (2 * 1000 * 1000ULL)
#define WAIT_USEC (60 * 1000 * 1000ULL)
/* What failed by the node's fault, or ran out of memory half way, has cost minutes of processor. */
#define LATER_USEC (600 * 1000 * 1000ULL)
/* Without a sign, too: directories may have come into being that could not be watched. */
#define REGULAR_USEC (300 * 1000 * 1000ULL)
/* The process ends by itself after trial_timeout; one that a disk holds does not. */
#define OVERTIME_S 300

/* What somebody asked for. */
struct wish {
    char *generation; /* NULL: nothing */
    bool whatever_memory;
};

struct trial {
    struct engine *engine;
    char *program;
    sd_event_source *look; /* when next */
    struct watches watches;
    sd_event_source *messages;
    sd_event_source *death;
    sd_event_source *deadline;
    pid_t pid; /* 0: none runs */
    int channel;
    bool again;         /* something came meanwhile */
    struct wish wanted; /* not yet begun */
    struct wish begun;  /* what the process was told */
    bool was_late;      /* the last one was interrupted */
    /* Of the one that runs, or waits. */
    char *stage;
    char *generation;
    gint64 since;
    int done;
    int total;
    char *reason;
    struct handed handed;
    json_t *end;   /* what it said at last */
    json_t *last;  /* the last trial with an outcome */
    char *refused; /* what was said of an offer last */
    char *failed;  /* what was said of a failure last; NULL: a trial came to an end since */
};

static gint64
now_s(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static void
set_stage(struct trial *trial, const char *stage, const char *generation, const char *reason)
{
    report_set_text(&trial->stage, stage);
    report_set_text(&trial->generation, generation);
    report_set_text(&trial->reason, reason);
    trial->since = now_s();
    trial->done = 0;
    trial->total = 0;
    if (trial->engine->clients != NULL) {
        clients_state_changed(trial->engine->clients);
    }
}

static void
look_in(struct trial *trial, uint64_t usec)
{
    (void)sd_event_source_set_time_relative(trial->look, usec);
    (void)sd_event_source_set_enabled(trial->look, SD_EVENT_ONESHOT);
}

void
trial_consider(struct trial *trial)
{
    if (trial->pid != 0) {
        trial->again = true;
    } else {
        look_in(trial, SOON_USEC);
    }
}

static void
something_came(void *data)
{
    trial_consider(data);
}

/* The process */

/* What was asked for has not been done. */
static void
ask_again(struct trial *trial)
{
    if (trial->wanted.generation == NULL) {
        trial->wanted = trial->begun;
        trial->begun = (struct wish){0};
    }
    g_clear_pointer(&trial->begun.generation, g_free);
}

static void
fill_task(const struct trial *trial, struct trial_task *task)
{
    const struct engine *engine = trial->engine;
    *task = (struct trial_task){
        .settings = engine->settings,
        .groups = engine->groups,
        .program = trial->program,
        .role = engine->role,
        .wanted = trial->begun.generation,
        .whatever_memory = trial->begun.whatever_memory,
        .slot = ZYGOTE_SLOTS_MAX - 1,
    };
    /* In a pause: of what was in use until then. */
    if (!engine->report.test_only) {
        task->in_use.signatures = engine->report.signatures;
        task->in_use.memory = engine->report.memory;
    }
}

static void ended(struct trial *trial, const char *how);

static void
remember(struct trial *trial, const json_t *end, const char *outcome, const char *reason)
{
    json_decref(trial->last);
    trial->last = json_pack("{s:s?, s:s, s:s?, s:I, s:O?}", "generation",
                            json_string_value(json_object_get(end, "generation")), "outcome",
                            outcome, "reason", reason, "time", (json_int_t)now_s(), "measured",
                            json_object_get(end, "measured"));
}

static void
on_rejected(struct trial *trial, const char *generation, const char *reason)
{
    log_err("generation %s: REJECTED, it will not be used: %s; the signatures in use stay",
            generation, reason);
    adoption_consider(trial->engine);
}

static void
take_end(struct trial *trial, json_t *event)
{
    json_decref(trial->end);
    trial->end = json_incref(event);
}

static void
take_stage(struct trial *trial, json_t *event)
{
    const char *stage = json_string_value(json_object_get(event, "stage"));
    const char *generation = json_string_value(json_object_get(event, "generation"));
    if (stage != NULL && generation != NULL) {
        /* It has taken what there was to take: that is not what came meanwhile. */
        trial->again = trial->again && strcmp(stage, TRIAL_VERIFYING) != 0;
        log_info("trial of generation %s: %s", generation, stage);
        set_stage(trial, stage, generation, NULL);
    }
}

static void
take_scanned(struct trial *trial, json_t *event)
{
    trial->done = (int)json_integer_value(json_object_get(event, "done"));
    trial->total = (int)json_integer_value(json_object_get(event, "total"));
}

/* Said once, not at each look at the same offer. */
static void
take_refused(struct trial *trial, json_t *event)
{
    g_autofree char *safe =
        text_escape(json_string_value(json_object_get(event, "error")), TEXT_SHOWN);
    if (g_strcmp0(safe, trial->refused) != 0) {
        log_warning("what postern-update or -share offers is not taken: %s", safe);
        report_set_text(&trial->refused, safe);
    }
}

/* Its trial was cut off by the end of the engine, or of the machine. */
static void
take_recovered(struct trial *trial, json_t *event)
{
    const char *generation = json_string_value(json_object_get(event, "generation"));
    const char *reason = json_string_value(json_object_get(event, "reason"));
    g_autofree char *safe = text_escape(reason, TEXT_SHOWN);
    bool is_rejected = json_is_true(json_object_get(event, "rejected"));
    json_auto_t *outcome = json_pack("{s:s*}", "generation", generation);
    if (generation == NULL) {
        return;
    }
    trial->was_late = trial->was_late || !is_rejected;
    remember(trial, outcome, is_rejected ? TRIAL_REJECTED : TRIAL_INTERRUPTED, safe);
    if (is_rejected) {
        on_rejected(trial, generation, safe);
    } else {
        log_warning("generation %s: %s; it is tried once more", generation, safe);
    }
}

static const struct {
    const char *event;
    void (*take)(struct trial *trial, json_t *event);
} events[] = {
    {"stage", take_stage},         {"scanned", take_scanned}, {"refused", take_refused},
    {"recovered", take_recovered}, {"end", take_end},
};

static int
on_message(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    (void)revents;
    struct trial *trial = data;
    json_auto_t *packet = NULL;
    int fd = -1;
    int rc = packet_receive(sock, &packet, &fd);
    if (rc != 1) {
        if (rc != -EAGAIN) {
            sd_event_source_set_enabled(source, SD_EVENT_OFF);
        }
        return 0;
    }
    handed_hear(&trial->handed, packet, fd, sock);
    const char *name = json_string_value(json_object_get(packet, "event"));
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(events); i++) {
        if (strcmp(events[i].event, name) == 0) {
            events[i].take(trial, packet);
        }
    }
    return 0;
}

static int
on_death(sd_event_source *source, const siginfo_t *info, void *data)
{
    (void)source;
    g_autofree char *how = info->si_code == CLD_EXITED
                               ? g_strdup_printf("ended with exit %d", info->si_status)
                               : g_strdup_printf("was ended by signal %d", info->si_status);
    ended(data, how);
    return 0;
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct trial *trial = data;
    trial->deadline = sd_event_source_disable_unref(trial->deadline);
    log_err("trial: does not end: killed");
    (void)kill(trial->pid, SIGKILL);
    return 0;
}

static int
watch_child(struct trial *trial)
{
    sd_event *event = trial->engine->event;
    uint64_t most = (trial->engine->settings->trial_timeout + OVERTIME_S) * G_USEC_PER_SEC;
    int rc = sd_event_add_io(event, &trial->messages, trial->channel, EPOLLIN, on_message, trial);
    if (rc >= 0) {
        /* What it said before it ended is to be heard before its end. */
        rc = sd_event_source_set_priority(trial->messages, SD_EVENT_PRIORITY_IMPORTANT);
    }
    if (rc >= 0) {
        rc = sd_event_add_child(event, &trial->death, trial->pid, WEXITED, on_death, trial);
    }
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &trial->deadline, CLOCK_MONOTONIC, most, 0,
                                        on_deadline, trial);
    }
    return rc;
}

static void
forget_child(struct trial *trial)
{
    trial->messages = sd_event_source_disable_unref(trial->messages);
    trial->death = sd_event_source_disable_unref(trial->death);
    trial->deadline = sd_event_source_disable_unref(trial->deadline);
    if (trial->channel >= 0) {
        close(trial->channel);
        trial->channel = -1;
    }
    trial->pid = 0;
}

static int
start(struct trial *trial)
{
    struct trial_task task;
    trial->begun = trial->wanted;
    trial->wanted = (struct wish){0};
    fill_task(trial, &task);
    int rc = trial_process_start(&task, trial->was_late, &trial->pid, &trial->channel);
    if (rc == 0) {
        trial->again = false;
        rc = watch_child(trial);
        if (rc < 0) {
            (void)kill(trial->pid, SIGKILL);
            (void)waitpid(trial->pid, NULL, 0);
            forget_child(trial);
        }
    }
    if (rc < 0) {
        ask_again(trial);
    }
    return MIN(rc, 0);
}

static int
on_look(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct trial *trial = data;
    if (trial->pid != 0 || trial->engine->stopping) {
        return 0;
    }
    if (!trial->wanted.whatever_memory && trial_process_must_wait(trial->engine)) {
        look_in(trial, BUSY_USEC);
        return 0;
    }
    int rc = start(trial);
    if (rc < 0) {
        log_err("trial: cannot be started: %s", g_strerror(-rc));
        look_in(trial, WAIT_USEC);
    }
    return 0;
}

/* The end */

static void
on_tried(struct trial *trial, const char *generation, const char *reason)
{
    const json_t *measured = json_object_get(trial->end, "measured");
    (void)reason;
    report_set_text(&trial->failed, NULL);
    log_notice("generation %s: tried, all well: %" JSON_INTEGER_FORMAT " signatures, "
               "%" JSON_INTEGER_FORMAT " MB, loaded in %.1f s and the clean samples scanned in "
               "%.2f s of processor time",
               generation, json_integer_value(json_object_get(measured, "signatures")),
               json_integer_value(json_object_get(measured, "memory")) >> 20,
               (double)json_integer_value(json_object_get(measured, "load_us")) / G_USEC_PER_SEC,
               (double)json_integer_value(json_object_get(measured, "scan_us")) / G_USEC_PER_SEC);
    adoption_consider(trial->engine);
}

static void
on_interrupted(struct trial *trial, const char *generation, const char *reason)
{
    trial->was_late = true;
    log_warning("generation %s: its trial was interrupted: %s", generation, reason);
}

static void
on_overtaken(struct trial *trial, const char *generation, const char *reason)
{
    log_notice("generation %s: somebody has decided during its trial, which says: %s", generation,
               reason != NULL ? reason : "all well");
    adoption_consider(trial->engine);
}

static void
on_failed(struct trial *trial, const char *generation, const char *reason)
{
    if (g_strcmp0(trial->failed, reason) != 0) {
        log_err("generation %s: cannot be tried: %s", generation, reason);
        report_set_text(&trial->failed, reason);
    }
    adoption_consider(trial->engine);
}

static void
on_waiting(struct trial *trial, const char *generation, const char *reason)
{
    if (trial->stage == NULL || strcmp(trial->stage, TRIAL_WAITING) != 0) {
        log_warning("generation %s: is not tried yet: %s", generation, reason);
    }
    set_stage(trial, TRIAL_WAITING, generation, reason);
    adoption_consider(trial->engine);
}

static void
on_held(struct trial *trial, const char *generation, const char *reason)
{
    if (g_strcmp0(trial->reason, reason) != 0) {
        log_info("generation %s: waits for other nodes: %s", generation, reason);
        set_stage(trial, TRIAL_HELD, generation, reason);
    }
}

static const struct {
    const char *outcome;
    void (*note)(struct trial *trial, const char *generation, const char *reason);
    uint64_t next_usec;
    bool is_end;  /* of a trial, worth remembering */
    bool repeats; /* what somebody asked for is still to be done */
} outcomes[] = {
    {TRIAL_NOTHING, NULL, REGULAR_USEC, false, false},
    {TRIAL_BUSY, NULL, BUSY_USEC, false, true},
    {TRIAL_WAITING, on_waiting, WAIT_USEC, false, false},
    {TRIAL_HELD, on_held, 5 * BUSY_USEC, false, false},
    {TRIAL_TRIED, on_tried, SOON_USEC, true, false},
    {TRIAL_REJECTED, on_rejected, SOON_USEC, true, false},
    {TRIAL_INTERRUPTED, on_interrupted, SOON_USEC, true, false},
    {TRIAL_OVERTAKEN, on_overtaken, SOON_USEC, true, false},
    {TRIAL_FAILED, on_failed, LATER_USEC, true, false},
};

/* What the process said at last. Returns when to look again; 0: it said nothing that is known. */
static uint64_t
take_outcome(struct trial *trial, const char *outcome, bool had_begun)
{
    const char *generation = json_string_value(json_object_get(trial->end, "generation"));
    const char *said = json_string_value(json_object_get(trial->end, "reason"));
    g_autofree char *reason = said != NULL ? text_escape(said, TEXT_SHOWN) : NULL;
    for (size_t i = 0; outcome != NULL && i < G_N_ELEMENTS(outcomes); i++) {
        if (strcmp(outcomes[i].outcome, outcome) != 0) {
            continue;
        }
        if (outcomes[i].is_end) {
            remember(trial, trial->end, outcome, reason);
        }
        if (outcomes[i].repeats) {
            ask_again(trial);
        }
        if (outcomes[i].note != NULL) {
            outcomes[i].note(trial, generation != NULL ? generation : "(none yet)", reason);
        }
        return outcomes[i].note == on_waiting && had_begun ? LATER_USEC : outcomes[i].next_usec;
    }
    return 0;
}

static void
ended(struct trial *trial, const char *how)
{
    const char *outcome = json_string_value(json_object_get(trial->end, "outcome"));
    bool waits = trial_is_resting(outcome);
    bool had_begun = trial_runs(trial);
    forget_child(trial);
    handed_settle(&trial->handed, trial->engine);
    if (had_begun) {
        adoption_trial_ended(trial->engine);
    }
    if (!waits && g_strcmp0(outcome, TRIAL_BUSY) != 0) {
        trial->was_late = false;
    }
    uint64_t next = take_outcome(trial, outcome, had_begun);
    if (next == 0) {
        /* store_recover() counts it, at the next look. */
        log_err("trial: its process %s", how);
        trial->was_late = true;
        next = WAIT_USEC;
    }
    if (!waits && trial->stage != NULL) {
        set_stage(trial, NULL, NULL, NULL);
    }
    g_clear_pointer(&trial->begun.generation, g_free);
    trial->again = (outcome != NULL && watches_renew(&trial->watches, trial->engine->settings)) ||
                   trial->again;
    look_in(trial, trial->again || trial->wanted.generation != NULL ? MIN(next, BUSY_USEC) : next);
    json_decref(g_steal_pointer(&trial->end));
}

int
trial_request(struct trial *trial, const char *generation, bool whatever_memory, char **error_r)
{
    const char *other = trial_runs(trial) ? trial->generation : trial->wanted.generation;
    if (other != NULL && g_strcmp0(other, generation) != 0) {
        *error_r = g_strdup_printf("generation %s is being tried; ask again after that", other);
        return -EBUSY;
    }
    if (trial_runs(trial)) {
        return 0;
    }
    report_set_text(&trial->wanted.generation, generation);
    trial->wanted.whatever_memory = whatever_memory;
    if (trial->pid == 0) {
        set_stage(trial, NULL, NULL, NULL);
        look_in(trial, 0);
    }
    return 0;
}

void
trial_withdraw(struct trial *trial)
{
    if (trial->wanted.whatever_memory) {
        g_clear_pointer(&trial->wanted.generation, g_free);
        trial->wanted.whatever_memory = false;
    }
    if (trial->begun.whatever_memory) {
        g_clear_pointer(&trial->begun.generation, g_free);
        trial->begun.whatever_memory = false;
        if (trial->pid != 0) {
            log_warning("trial: is not waited for any more: killed");
            (void)kill(trial->pid, SIGKILL);
        }
    }
}

bool
trial_runs(const struct trial *trial)
{
    return trial->pid != 0 && trial->stage != NULL && !trial_is_resting(trial->stage);
}

const char *
trial_waits_for_memory(const struct trial *trial)
{
    return g_strcmp0(trial->stage, TRIAL_WAITING) == 0 ? trial->generation : NULL;
}

json_t *
trial_to_json(const struct trial *trial)
{
    return json_pack("{s:s, s:s?, s:I, s:i, s:i, s:s?, s:O?}", "state",
                     trial->stage != NULL ? trial->stage : "idle", "generation", trial->generation,
                     "since", (json_int_t)trial->since, "done", trial->done, "total", trial->total,
                     "reason", trial->reason, "last", trial->last);
}

int
trial_new(struct engine *engine, struct trial **ret, char **error_r)
{
    g_autofree char *program = nursery_program(error_r);
    if (program == NULL) {
        return -ENOENT;
    }
    struct trial *trial = g_new0(struct trial, 1);
    trial->engine = engine;
    trial->channel = -1;
    handed_init(&trial->handed);
    trial->watches =
        (struct watches){.event = engine->event, .changed = something_came, .data = trial};
    trial->since = now_s();
    trial->program = g_steal_pointer(&program);
    int rc = sd_event_add_time_relative(engine->event, &trial->look, CLOCK_MONOTONIC, SOON_USEC, 1,
                                        on_look, trial);
    if (rc < 0) {
        *error_r = g_strdup_printf("no timer for trials: %s", g_strerror(-rc));
        trial_free(trial);
        return rc;
    }
    *ret = trial;
    return 0;
}

void
trial_free(struct trial *trial)
{
    if (trial == NULL) {
        return;
    }
    if (trial->pid != 0) {
        trial_process_end(trial->pid, trial->engine->settings,
                          trial_runs(trial) ? trial->generation : NULL);
    }
    forget_child(trial);
    handed_clear(&trial->handed);
    sd_event_source_disable_unref(trial->look);
    watches_clear(&trial->watches);
    json_decref(trial->end);
    json_decref(trial->last);
    g_free(trial->program);
    g_free(trial->wanted.generation);
    g_free(trial->begun.generation);
    g_free(trial->stage);
    g_free(trial->generation);
    g_free(trial->reason);
    g_free(trial->refused);
    g_free(trial->failed);
    g_free(trial);
}

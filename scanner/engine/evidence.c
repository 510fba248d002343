/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adoption-inner.h"
#include "engine.h"
#include "log.h"
#include "nursery.h"
#include "packet.h"
#include "store.h"

/* Above every number of the crew's. */
#define FIRST_NUMBER (1ULL << 40)
#define LOAD_SECONDS 1800
#define SECONDS_PER_DAY 86400
#define DOUBLINGS_MAX 7

enum stage {
    STAGE_NONE,
    STAGE_LOOK,    /* whether somebody can be accused */
    STAGE_NEW,     /* a worker of the generation that serves has it */
    STAGE_LOAD,    /* the generation before is loaded */
    STAGE_OLD,     /* a worker of that has it */
    STAGE_BETWEEN, /* until its zygote is gone */
    STAGE_RELOAD,  /* the accused is loaded, afresh */
    STAGE_AGAIN,   /* a worker of that has it */
    STAGE_END,     /* until that zygote is gone */
};

struct evidence {
    struct engine *engine;
    enum stage stage;
    int mail;
    char *accused; /* generation */
    char *before;
    guint64 need;       /* bytes that the one before would take */
    guint64 need_again; /* the accused, once more */
    struct aside *asked;
    struct nursery *beside; /* the generation before, then the accused */
    char *asked_of;         /* the accused, when something was loaded last; NULL: never */
    gint64 loaded_us;       /* that time */
    unsigned loads;         /* in vain, since it is that one */
    /* the worker that has the mail */
    uint64_t number;
    const struct nursery *nursery; /* that forked it */
    int channel;                   /* -1: none */
    int pidfd;
    bool given;
    sd_event_source *words;
    sd_event_source *deadline;
};

struct evidence *
evidence_new(struct engine *engine)
{
    struct evidence *evidence = g_new0(struct evidence, 1);
    evidence->engine = engine;
    evidence->mail = -1;
    evidence->channel = -1;
    evidence->pidfd = -1;
    evidence->number = FIRST_NUMBER;
    return evidence;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* It ends by its channel, or now. */
static void
drop_worker(struct evidence *evidence)
{
    evidence->words = sd_event_source_disable_unref(evidence->words);
    evidence->deadline = sd_event_source_disable_unref(evidence->deadline);
    if (evidence->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, evidence->pidfd, SIGKILL, NULL, 0);
    }
    close_fd(&evidence->channel);
    close_fd(&evidence->pidfd);
    evidence->given = false;
}

static void
forget(struct evidence *evidence)
{
    aside_forget(&evidence->asked);
    drop_worker(evidence);
    close_fd(&evidence->mail);
    g_clear_pointer(&evidence->accused, g_free);
    g_clear_pointer(&evidence->before, g_free);
    evidence->stage = evidence->beside != NULL ? STAGE_END : STAGE_NONE;
    if (evidence->beside != NULL) {
        nursery_kill(evidence->beside, NULL);
    }
}

void
evidence_free(struct evidence *evidence)
{
    if (evidence != NULL) {
        nursery_free(g_steal_pointer(&evidence->beside));
        forget(evidence);
        g_free(evidence->asked_of);
        g_free(evidence);
    }
}

/* --- one worker ----------------------------------------------------------------------------- */

static void begin_old(struct evidence *evidence);
static void load(struct evidence *evidence, const char *name, guint64 need, enum stage stage);

enum outcome {
    OUTCOME_SCANNED, /* to the end */
    OUTCOME_CRASHED,
    OUTCOME_UNCLEAR,
};

static void
roll_back(const struct evidence *evidence)
{
    struct engine *engine = evidence->engine;
    g_autofree char *error = NULL;
    g_autofree char *reason =
        g_strdup_printf("the same mail crashes its workers and not those of %s", evidence->before);
    const struct adoption_request request = {.generation = evidence->before, .reject = reason};
    if (strcmp(engine->report.generation, evidence->accused) != 0) {
        return;
    }
    log_err("generation %s: %s: going back", evidence->accused, reason);
    if (adoption_request(engine, &request, &error) < 0) {
        log_err("generation %s: cannot go back: %s", evidence->accused, error);
    }
}

static void
judge_new(struct evidence *evidence, enum outcome outcome)
{
    if (outcome == OUTCOME_CRASHED) {
        begin_old(evidence);
        return;
    }
    log_notice("a mail that cost two workers: a third one %s",
               outcome == OUTCOME_SCANNED ? "has scanned it" : "came to no end with it");
    forget(evidence);
}

static void
judge_old(struct evidence *evidence, enum outcome outcome)
{
    if (outcome == OUTCOME_SCANNED) {
        log_warning("generation %s: those of %s scan it: it is loaded once more, and asked afresh",
                    evidence->accused, evidence->before);
        evidence->stage = STAGE_BETWEEN;
        nursery_kill(evidence->beside, NULL);
        return;
    }
    log_notice(
        "a mail that crashes workers of generation %s: those of %s %s: nothing is rolled back",
        evidence->accused, evidence->before,
        outcome == OUTCOME_CRASHED ? "crash, too" : "come to no end with it");
    forget(evidence);
}

static void
judge_again(struct evidence *evidence, enum outcome outcome)
{
    if (outcome == OUTCOME_CRASHED) {
        roll_back(evidence);
    } else {
        log_notice(
            "a mail that crashed workers of generation %s: afresh they %s: nothing is rolled "
            "back",
            evidence->accused, outcome == OUTCOME_SCANNED ? "scan it" : "come to no end with it");
    }
    forget(evidence);
}

static void
judge(struct evidence *evidence, enum outcome outcome)
{
    drop_worker(evidence);
    if (evidence->stage == STAGE_NEW) {
        judge_new(evidence, outcome);
    } else if (evidence->stage == STAGE_OLD) {
        judge_old(evidence, outcome);
    } else {
        judge_again(evidence, outcome);
    }
}

static void
give(struct evidence *evidence)
{
    json_auto_t *order = json_pack("{s:s, s:i, s:b}", "op", "scan", "id", 1, "ask", 0);
    evidence->given = true;
    if (packet_send(evidence->channel, order, evidence->mail) < 0) {
        judge(evidence, OUTCOME_UNCLEAR);
    }
}

/* "ready", then the answer, each as a worker of the crew gives it. */
static int
on_words(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    struct evidence *evidence = data;
    json_auto_t *packet = NULL;
    (void)source;
    (void)revents;
    int rc = packet_receive(sock, &packet, NULL);
    if (rc == -EAGAIN) {
        return 0;
    }
    if (!evidence->given) {
        if (rc == 1 && json_is_true(json_object_get(packet, "ready"))) {
            give(evidence);
        } else {
            judge(evidence, OUTCOME_UNCLEAR);
        }
        return 0;
    }
    if (rc == 1) {
        const json_t *facts = json_object_get(packet, "facts");
        bool is_whole = json_is_true(json_object_get(facts, "complete")) &&
                        json_array_size(json_object_get(facts, "faults")) == 0;
        judge(evidence, is_whole ? OUTCOME_SCANNED : OUTCOME_UNCLEAR);
    } else {
        /* Its zygote tells how it ended. */
        (void)sd_event_source_set_enabled(evidence->words, SD_EVENT_OFF);
    }
    return 0;
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    judge(data, OUTCOME_UNCLEAR);
    return 0;
}

static int
watch(struct evidence *evidence)
{
    sd_event *event = evidence->engine->event;
    guint64 limit_us =
        (evidence->engine->settings->scan_timeout * G_USEC_PER_SEC) + CREW_READY_USEC;
    int rc =
        sd_event_add_io(event, &evidence->words, evidence->channel, EPOLLIN, on_words, evidence);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &evidence->deadline, CLOCK_MONOTONIC, limit_us, 0,
                                        on_deadline, evidence);
    }
    return rc;
}

static int
start_worker(struct evidence *evidence, struct nursery *nursery)
{
    unsigned slot = crew_evidence_slot(evidence->engine->crew);
    int pair[2];
    int rc = packet_pair(pair);
    if (rc < 0) {
        return rc;
    }
    evidence->channel = pair[0];
    evidence->nursery = nursery;
    evidence->number++;
    rc = watch(evidence);
    if (rc >= 0) {
        rc = nursery_fork(nursery, evidence->number, slot, pair[1]);
    }
    close(pair[1]);
    return rc;
}

bool
evidence_forked(struct evidence *evidence, uint64_t number, int pidfd)
{
    if (number == evidence->number && evidence->channel >= 0 && evidence->pidfd < 0) {
        evidence->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
        (void)groups_place_worker(evidence->engine->groups,
                                  crew_evidence_slot(evidence->engine->crew), evidence->pidfd);
    }
    return number > FIRST_NUMBER;
}

/* By itself: others end processes by other signals, and SIGSYS is what abort() comes to there. */
static bool
is_crash(int status)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    bool found = false;
    for (size_t i = 0; WIFSIGNALED(status) && i < G_N_ELEMENTS(numbers); i++) {
        found = found || WTERMSIG(status) == numbers[i];
    }
    return found;
}

/* Its answer may be there and not read yet: another socket told of its end. */
static void
hear_last_words(struct evidence *evidence)
{
    struct pollfd wait = {.fd = evidence->channel, .events = POLLIN};
    if (poll(&wait, 1, 0) == 1) {
        (void)on_words(evidence->words, evidence->channel, 0, evidence);
    }
}

bool
evidence_exited(struct evidence *evidence, uint64_t number, int status)
{
    if (number == evidence->number && evidence->channel >= 0 && evidence->given) {
        hear_last_words(evidence);
    }
    if (number == evidence->number && evidence->channel >= 0) {
        bool crashed = evidence->given && is_crash(status);
        judge(evidence, crashed ? OUTCOME_CRASHED : OUTCOME_UNCLEAR);
    }
    return number > FIRST_NUMBER;
}

void
evidence_lost(struct evidence *evidence, const struct nursery *nursery)
{
    if (evidence->channel >= 0 && evidence->nursery == nursery) {
        judge(evidence, OUTCOME_UNCLEAR);
    }
}

bool
evidence_is_busy(const struct evidence *evidence)
{
    return evidence->beside != NULL;
}

/* --- one that is loaded for it -------------------------------------------------------------- */

static void
on_beside_loaded(struct nursery *nursery, void *data)
{
    struct evidence *evidence = data;
    if (evidence->stage == STAGE_LOAD || evidence->stage == STAGE_RELOAD) {
        evidence->stage = evidence->stage == STAGE_LOAD ? STAGE_OLD : STAGE_AGAIN;
        if (start_worker(evidence, nursery) < 0) {
            forget(evidence);
        }
    }
}

static void
on_beside_forked(struct nursery *nursery, uint64_t number, int pidfd, void *data)
{
    (void)nursery;
    (void)evidence_forked(data, number, pidfd);
}

static void
on_beside_exited(struct nursery *nursery, uint64_t number, int status, void *data)
{
    (void)nursery;
    (void)evidence_exited(data, number, status);
}

static void
on_beside_ended(struct nursery *nursery, const char *why, void *data)
{
    struct evidence *evidence = data;
    bool goes_on = evidence->stage == STAGE_BETWEEN && !evidence->engine->stopping;
    (void)why;
    evidence->beside = NULL;
    nursery_free(nursery);
    if (goes_on) {
        load(evidence, evidence->accused, evidence->need_again, STAGE_RELOAD);
    } else {
        forget(evidence);
    }
    if (evidence->beside == NULL) {
        adoption_consider(evidence->engine);
    }
}

static const struct nursery_ops beside_ops = {
    .loaded = on_beside_loaded,
    .forked = on_beside_forked,
    .exited = on_beside_exited,
    .ended = on_beside_ended,
};

static void
load(struct evidence *evidence, const char *name, guint64 need, enum stage stage)
{
    struct engine *engine = evidence->engine;
    g_autofree char *path = choice_path(engine, name);
    g_autofree char *shown = g_strdup(name);
    const struct choice choice = {.name = shown, .path = path, .need = need};
    const struct nursery_plan plan = {
        .name = name,
        .path = path,
        .beside = true,
        .seconds = LOAD_SECONDS,
    };
    g_autofree char *why = NULL;
    evidence->stage = stage;
    if (adoption_is_busy(engine) || !choice_fits(engine, &choice, &why) ||
        nursery_new(engine, &plan, &beside_ops, evidence, &evidence->beside, &why) < 0) {
        log_warning("generation %s: cannot be asked: %s", name,
                    why != NULL ? why : "another one is just being adopted");
        forget(evidence);
    }
}

/* Whether it is too soon after the last time; if not, this is the last time. */
static bool
is_too_soon(struct evidence *evidence)
{
    gint64 now = g_get_monotonic_time();
    bool is_same = g_strcmp0(evidence->asked_of, evidence->accused) == 0;
    gint64 pause_s = (gint64)EVIDENCE_PAUSE_S << MIN(
                         is_same && evidence->loads > 0 ? evidence->loads - 1 : 0, DOUBLINGS_MAX);
    if (evidence->asked_of != NULL && now - evidence->loaded_us < pause_s * G_USEC_PER_SEC) {
        return true;
    }
    report_set_text(&evidence->asked_of, evidence->accused);
    evidence->loads = is_same ? evidence->loads + 1 : 1;
    evidence->loaded_us = now;
    return false;
}

static void
begin_old(struct evidence *evidence)
{
    if (is_too_soon(evidence)) {
        forget(evidence);
        return;
    }
    log_warning("generation %s: a mail has crashed three of its workers: it is given to one of %s",
                evidence->accused, evidence->before);
    load(evidence, evidence->before, evidence->need, STAGE_LOAD);
}

/* --- the beginning -------------------------------------------------------------------------- */

/* Whether CURRENT can be accused, and PREVIOUS be asked. */
static bool
is_accusable(const struct engine *engine, const struct store_entry *current,
             const struct store_entry *previous)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    return previous != NULL && previous->manifest != NULL && !current->is_pinned &&
           strcmp(current->name, engine->report.generation) == 0 &&
           now - current->record.adopted <= EVIDENCE_DAYS * SECONDS_PER_DAY;
}

static json_t *
work_accused(const struct engine *engine, const void *task)
{
    g_autofree char *error = NULL;
    g_autoptr(store_t) store = NULL;
    (void)task;
    if (store_open(engine->settings->signatures_dir, FALSE, &store, &error) < 0) {
        return json_object();
    }
    g_autoptr(store_entry_t) current = store_find(store, "current", &error);
    g_clear_pointer(&error, g_free);
    g_autoptr(store_entry_t) previous =
        current == NULL ? NULL : store_find(store, "previous", &error);
    if (!is_accusable(engine, current, previous)) {
        return json_object();
    }
    struct choice before = {.path = choice_path(engine, previous->name)};
    struct choice again = {.path = choice_path(engine, current->name)};
    choice_measure(engine, &before);
    choice_measure(engine, &again);
    return json_pack("{s:s, s:s, s:I, s:I}", "accused", current->name, "before", previous->name,
                     "need", (json_int_t)before.need, "again", (json_int_t)again.need);
}

static void
on_accused(const json_t *told, const char *why, void *data)
{
    struct evidence *evidence = data;
    struct engine *engine = evidence->engine;
    const char *accused = json_string_value(json_object_get(told, "accused"));
    const char *before = json_string_value(json_object_get(told, "before"));
    (void)why;
    if (accused == NULL || before == NULL || engine->stopping ||
        !supervisor_loaded(engine->supervisor) || adoption_is_busy(engine)) {
        forget(evidence);
        return;
    }
    evidence->accused = g_strdup(accused);
    evidence->before = g_strdup(before);
    evidence->need = (guint64)json_integer_value(json_object_get(told, "need"));
    evidence->need_again = (guint64)json_integer_value(json_object_get(told, "again"));
    evidence->stage = STAGE_NEW;
    if (start_worker(evidence, supervisor_nursery(engine->supervisor)) < 0) {
        forget(evidence);
    }
}

void
evidence_take(struct evidence *evidence, int fd)
{
    struct engine *engine = evidence->engine;
    const struct aside_plan plan = {.work = work_accused, .done = on_accused, .data = evidence};
    if (evidence->stage != STAGE_NONE || engine->stopping ||
        !supervisor_loaded(engine->supervisor) || adoption_is_busy(engine)) {
        return;
    }
    evidence->mail = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    evidence->stage = STAGE_LOOK;
    if (evidence->mail < 0 || aside_start(engine, &plan, &evidence->asked) < 0) {
        forget(evidence);
    }
}

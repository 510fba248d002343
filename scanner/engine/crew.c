/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "crew.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "packet.h"
#include "text.h"
#include "zygote.h"

#define PAUSE_FIRST_USEC (100 * 1000ULL)
#define PAUSE_LONGEST_USEC (10 * 1000 * 1000ULL)
#define ERROR_MAX 300

enum stage {
    STAGE_FORKING, /* until both its pidfd and its "ready" have come */
    STAGE_SPARE,
    STAGE_LENT,
};

struct worker {
    struct crew *crew;
    struct slot *slot;
    uint64_t number;
    enum stage stage;
    bool canary_passed;
    bool killed;
    bool taken_back; /* who had it is gone */
    int pidfd;
    int channel; /* -1 once it was handed out */
    gint64 forked_us;
    gint64 lent_us;
    guint64 oom_kills; /* in its slot's group, before it */
    sd_event_source *messages;
    sd_event_source *deadline;
};

struct slot {
    struct crew *crew;
    unsigned index;
    struct worker *worker;
    unsigned failures; /* in a row: workers that died before they were of use */
    sd_event_source *pause;
};

struct crew {
    struct engine *engine;
    unsigned n_slots; /* of normal work; one more follows, for self tests */
    struct slot *slots;
    uint64_t last_number;
    bool selftest_again; /* asked for while the last one's worker was not gone yet */
    char *error;
};

static void fill(struct slot *slot);

static struct slot *
selftest_slot(const struct crew *crew)
{
    return &crew->slots[crew->n_slots];
}

struct crew *
crew_new(struct engine *engine)
{
    struct crew *crew = g_new0(struct crew, 1);
    crew->engine = engine;
    crew->n_slots = MIN(settings_workers(engine->settings), ZYGOTE_SLOTS_MAX - 1);
    crew->slots = g_new0(struct slot, crew->n_slots + 1);
    for (unsigned i = 0; i <= crew->n_slots; i++) {
        crew->slots[i].crew = crew;
        crew->slots[i].index = i;
    }
    return crew;
}

static void
worker_free(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    sd_event_source_disable_unref(worker->messages);
    sd_event_source_disable_unref(worker->deadline);
    if (worker->pidfd >= 0) {
        close(worker->pidfd);
    }
    if (worker->channel >= 0) {
        close(worker->channel);
    }
    g_free(worker);
}

void
crew_free(struct crew *crew)
{
    if (crew == NULL) {
        return;
    }
    for (unsigned i = 0; i <= crew->n_slots; i++) {
        worker_free(crew->slots[i].worker);
        sd_event_source_disable_unref(crew->slots[i].pause);
    }
    g_free(crew->slots);
    g_free(crew->error);
    g_free(crew);
}

static struct worker *
find(const struct crew *crew, uint64_t number)
{
    for (unsigned i = 0; i <= crew->n_slots; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->number == number) {
            return worker;
        }
    }
    return NULL;
}

static void
worker_kill(struct worker *worker)
{
    worker->killed = true;
    if (worker->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
    }
}

static void
hand_out(struct worker *worker)
{
    if (clients_give_worker(worker->crew->engine->clients, worker->number, worker->channel)) {
        worker->stage = STAGE_LENT;
        worker->lent_us = g_get_monotonic_time();
        close(worker->channel);
        worker->channel = -1;
    }
}

/* A worker has become ready */

static void
selftest_passed(struct worker *worker)
{
    gint64 ms = (g_get_monotonic_time() - worker->forked_us) / 1000;
    clients_selftest_done(worker->crew->engine->clients, ms, NULL);
    worker_kill(worker);
}

static void
become_ready(struct worker *worker)
{
    struct crew *crew = worker->crew;
    worker->deadline = sd_event_source_disable_unref(worker->deadline);
    worker->stage = STAGE_SPARE;
    log_debug("worker %" G_GUINT64_FORMAT ": ready after %.1f ms", worker->number,
              (double)(g_get_monotonic_time() - worker->forked_us) / 1000);
    if (worker->slot == selftest_slot(crew)) {
        selftest_passed(worker);
        return;
    }
    g_clear_pointer(&crew->error, g_free);
    hand_out(worker);
    engine_changed(crew->engine);
}

static void
check_ready(struct worker *worker)
{
    if (worker->stage == STAGE_FORKING && worker->canary_passed && worker->pidfd >= 0 &&
        !worker->killed) {
        become_ready(worker);
    }
}

static void
note_error(struct worker *worker, const char *text)
{
    g_autofree char *safe = text_escape(text, ERROR_MAX);
    log_err("worker %" G_GUINT64_FORMAT ": %s", worker->number, safe);
    report_set_text(&worker->crew->error, safe);
}

static void
enter_group(struct worker *worker)
{
    const struct groups *groups = worker->crew->engine->groups;
    int rc = groups_place_worker(groups, worker->slot->index, worker->pidfd);
    worker->oom_kills = groups_oom_kills(groups, worker->slot->index);
    if (rc < 0 && rc != -ESRCH) {
        note_error(worker, "cannot be put into its control group: killed");
        worker_kill(worker);
    }
}

static int
on_first_words(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    (void)revents;
    struct worker *worker = data;
    json_auto_t *packet = NULL;
    int ready = 0;
    const char *error = NULL;
    int rc = packet_receive(sock, &packet, NULL);
    if (rc == -EAGAIN) {
        return 0;
    }
    /* Whatever it is, it is the last that the engine hears from this worker. */
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    if (rc != 1 || json_unpack(packet, "{s:b, s?s}", "ready", &ready, "error", &error) < 0) {
        worker_kill(worker);
    } else if (ready) {
        worker->canary_passed = true;
        check_ready(worker);
    } else {
        note_error(worker, error != NULL ? error : "is not ready, and does not say why");
        worker_kill(worker);
    }
    return 0;
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct worker *worker = data;
    worker->deadline = sd_event_source_disable_unref(worker->deadline);
    if (worker->pidfd < 0) {
        supervisor_replace(worker->crew->engine->supervisor, "does not fork workers any more");
    } else {
        note_error(worker, "was not ready in time: killed");
        worker_kill(worker);
    }
    return 0;
}

/* Forking */

static int
worker_watch(struct worker *worker)
{
    sd_event *event = worker->crew->engine->event;
    int rc =
        sd_event_add_io(event, &worker->messages, worker->channel, EPOLLIN, on_first_words, worker);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &worker->deadline, CLOCK_MONOTONIC, CREW_READY_USEC,
                                        0, on_deadline, worker);
    }
    return rc;
}

static int
slot_fork(struct slot *slot)
{
    struct crew *crew = slot->crew;
    int pair[2];
    int rc = packet_pair(pair);
    if (rc < 0) {
        return rc;
    }
    struct worker *worker = g_new0(struct worker, 1);
    worker->crew = crew;
    worker->slot = slot;
    worker->number = ++crew->last_number;
    worker->pidfd = -1;
    worker->channel = pair[0];
    worker->forked_us = g_get_monotonic_time();
    rc = worker_watch(worker);
    if (rc >= 0) {
        rc = supervisor_fork(crew->engine->supervisor, worker->number, slot->index, pair[1]);
    }
    close(pair[1]);
    if (rc < 0) {
        worker_free(worker);
        return rc;
    }
    slot->worker = worker;
    return 0;
}

static int
on_pause_end(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct slot *slot = data;
    slot->pause = sd_event_source_disable_unref(slot->pause);
    fill(slot);
    return 0;
}

static void
fill_after_pause(struct slot *slot)
{
    unsigned doublings = MIN(slot->failures, 10) - 1;
    uint64_t usec = MIN(PAUSE_FIRST_USEC << doublings, PAUSE_LONGEST_USEC);
    slot->pause = sd_event_source_disable_unref(slot->pause);
    int rc = sd_event_add_time_relative(slot->crew->engine->event, &slot->pause, CLOCK_MONOTONIC,
                                        usec, 1, on_pause_end, slot);
    if (rc < 0) {
        log_err("slot %u: no timer: %s", slot->index, g_strerror(-rc));
    }
}

static void
fill(struct slot *slot)
{
    if (slot->worker != NULL || !supervisor_loaded(slot->crew->engine->supervisor)) {
        return;
    }
    int rc = slot_fork(slot);
    if (rc < 0) {
        log_err("slot %u: no worker: %s", slot->index, g_strerror(-rc));
        slot->failures++;
        fill_after_pause(slot);
    }
}

void
crew_start(struct crew *crew)
{
    for (unsigned i = 0; i < crew->n_slots; i++) {
        crew->slots[i].failures = 0;
        fill(&crew->slots[i]);
    }
}

/* The end of a worker */

static char *
cause_of(const struct worker *worker, int status)
{
    if (worker->killed) {
        return g_strdup("killed");
    }
    if (groups_oom_kills(worker->crew->engine->groups, worker->slot->index) > worker->oom_kills) {
        return g_strdup("out of memory");
    }
    if (WIFSIGNALED(status)) {
        return g_strdup_printf("signal %d", WTERMSIG(status));
    }
    return WEXITSTATUS(status) == 0 ? g_strdup("retired")
                                    : g_strdup_printf("exit %d", WEXITSTATUS(status));
}

/* Takes the worker out of its slot and tells whom it concerns. */
static void
bury(struct worker *worker, const char *cause)
{
    struct crew *crew = worker->crew;
    if (worker->slot == selftest_slot(crew) && worker->stage == STAGE_FORKING) {
        clients_selftest_done(crew->engine->clients, 0, crew->error != NULL ? crew->error : cause);
    }
    if (worker->stage == STAGE_LENT && !worker->taken_back) {
        clients_worker_gone(crew->engine->clients, worker->number, cause);
    }
    worker->slot->worker = NULL;
    worker_free(worker);
}

static void
selftest_slot_free(struct slot *slot)
{
    struct crew *crew = slot->crew;
    if (crew->selftest_again) {
        crew->selftest_again = false;
        int rc = slot_fork(slot);
        if (rc < 0) {
            clients_selftest_done(crew->engine->clients, 0,
                                  rc == -EHOSTDOWN ? "the zygote has ended" : g_strerror(-rc));
        }
    }
}

void
crew_exited(struct crew *crew, uint64_t number, int status)
{
    struct worker *worker = find(crew, number);
    if (worker == NULL) {
        return;
    }
    g_autofree char *cause = cause_of(worker, status);
    struct slot *slot = worker->slot;
    bool useless = worker->stage != STAGE_LENT;
    bool quick = useless || g_get_monotonic_time() - worker->lent_us < CREW_QUICK_USEC;
    bool expected = worker->killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (!expected) {
        log_warning("worker %" G_GUINT64_FORMAT ": %s", number, cause);
    }
    bury(worker, cause);
    slot->failures = useless || (quick && !expected) ? slot->failures + 1 : 0;
    if (slot == selftest_slot(crew)) {
        selftest_slot_free(slot);
    } else if (useless || slot->failures > CREW_CRASHES_FREE) {
        fill_after_pause(slot);
    } else {
        fill(slot);
    }
    engine_changed(crew->engine);
}

void
crew_lost(struct crew *crew)
{
    for (unsigned i = 0; i <= crew->n_slots; i++) {
        struct slot *slot = &crew->slots[i];
        slot->pause = sd_event_source_disable_unref(slot->pause);
        if (slot->worker != NULL) {
            bury(slot->worker, "killed");
        }
    }
    selftest_slot_free(selftest_slot(crew));
}

void
crew_forked(struct crew *crew, uint64_t number, int pidfd)
{
    struct worker *worker = find(crew, number);
    if (worker == NULL || worker->pidfd >= 0) {
        return;
    }
    worker->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
    if (worker->killed) {
        worker_kill(worker);
    } else {
        enter_group(worker);
    }
    check_ready(worker);
}

/* For the clients */

void
crew_hand_out(struct crew *crew)
{
    for (unsigned i = 0; i < crew->n_slots; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->stage == STAGE_SPARE && !worker->killed) {
            hand_out(worker);
        }
    }
}

void
crew_take_back(struct crew *crew)
{
    for (unsigned i = 0; i < crew->n_slots; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->stage == STAGE_LENT) {
            worker->taken_back = true;
            worker_kill(worker);
        }
    }
}

int
crew_kill(struct crew *crew, uint64_t number)
{
    struct worker *worker = find(crew, number);
    if (worker == NULL || worker->stage != STAGE_LENT) {
        return -ENOENT;
    }
    worker_kill(worker);
    return 0;
}

int
crew_selftest(struct crew *crew)
{
    struct slot *slot = selftest_slot(crew);
    if (slot->worker != NULL && slot->worker->stage == STAGE_FORKING) {
        return 0;
    }
    if (slot->worker != NULL) {
        crew->selftest_again = true;
        return 0;
    }
    return slot_fork(slot);
}

unsigned
crew_alive(const struct crew *crew)
{
    unsigned n = 0;
    for (unsigned i = 0; i < crew->n_slots; i++) {
        n += crew->slots[i].worker != NULL;
    }
    return n;
}

unsigned
crew_ready(const struct crew *crew)
{
    unsigned n = 0;
    for (unsigned i = 0; i < crew->n_slots; i++) {
        const struct worker *worker = crew->slots[i].worker;
        n += worker != NULL && worker->stage != STAGE_FORKING && !worker->killed;
    }
    return n;
}

const char *
crew_error(const struct crew *crew)
{
    return crew->error;
}

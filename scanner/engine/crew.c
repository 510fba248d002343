/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "crew-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "packet.h"
#include "text.h"
#include "zygote.h"

#define PAUSE_FIRST_USEC (100 * 1000ULL)
#define PAUSE_LONGEST_USEC (10 * 1000 * 1000ULL)
#define ERROR_MAX 300

/* Slots behind those of normal work: for self tests, and for another's workers. */
enum special {
    SPECIAL_SELFTEST,
    SPECIAL_EVIDENCE,
    SPECIALS,
};

static unsigned
worker_count(const struct settings *settings)
{
    return MIN(settings_workers(settings), ZYGOTE_SLOTS_MAX - 2U - SPECIALS);
}

unsigned
crew_slots(const struct settings *settings)
{
    return worker_count(settings) + 1 + SPECIALS;
}

unsigned
crew_evidence_slot(const struct crew *crew)
{
    return crew->n_workers + 1 + SPECIAL_EVIDENCE;
}

static struct slot *
selftest_slot(const struct crew *crew)
{
    return &crew->slots[crew->n_workers + 1 + SPECIAL_SELFTEST];
}

/* Of normal work, one of which is free but while workers are exchanged; then the self test's. */
static unsigned
slots_used(const struct crew *crew)
{
    return crew->n_workers + 2;
}

struct crew *
crew_new(struct engine *engine)
{
    struct crew *crew = g_new0(struct crew, 1);
    crew->engine = engine;
    crew->n_workers = worker_count(engine->settings);
    crew->slots = g_new0(struct slot, slots_used(crew));
    for (unsigned i = 0; i < slots_used(crew); i++) {
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
    for (unsigned i = 0; i < slots_used(crew); i++) {
        worker_free(crew->slots[i].worker);
        sd_event_source_disable_unref(crew->slots[i].pause);
    }
    sd_event_source_disable_unref(crew->patience);
    g_free(crew->slots);
    g_free(crew->error);
    g_free(crew);
}

static struct worker *
find(const struct crew *crew, uint64_t number)
{
    for (unsigned i = 0; i < slots_used(crew); i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->number == number) {
            return worker;
        }
    }
    return NULL;
}

void
crew_worker_kill(struct worker *worker)
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
    crew_worker_kill(worker);
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
    } else if (worker->nursery == crew->next) {
        adoption_proved(crew->engine);
    } else if (worker->nursery != crew->nursery) {
        crew_worker_kill(worker);
    } else {
        g_clear_pointer(&crew->error, g_free);
        hand_out(worker);
        crew_settle(crew);
        engine_changed(crew->engine);
    }
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
        crew_worker_kill(worker);
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
        crew_worker_kill(worker);
    } else if (ready) {
        worker->canary_passed = true;
        check_ready(worker);
    } else {
        note_error(worker, error != NULL ? error : "is not ready, and does not say why");
        crew_worker_kill(worker);
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
        nursery_kill(worker->nursery, "does not fork workers any more");
    } else {
        note_error(worker, "was not ready in time: killed");
        crew_worker_kill(worker);
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

int
crew_slot_fork(struct slot *slot, struct nursery *nursery)
{
    struct crew *crew = slot->crew;
    int pair[2];
    int rc = packet_pair(pair);
    if (rc < 0) {
        return rc;
    }
    struct worker *worker = g_new0(struct worker, 1);
    worker->crew = crew;
    worker->nursery = nursery;
    worker->slot = slot;
    worker->number = ++crew->last_number;
    worker->pidfd = -1;
    worker->channel = pair[0];
    worker->forked_us = g_get_monotonic_time();
    rc = worker_watch(worker);
    if (rc >= 0) {
        rc = nursery_fork(nursery, worker->number, slot->index, pair[1]);
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
    crew_settle(slot->crew);
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

void
crew_slot_fill(struct slot *slot)
{
    int rc = crew_slot_fork(slot, slot->crew->nursery);
    if (rc < 0) {
        log_err("slot %u: no worker: %s", slot->index, g_strerror(-rc));
        slot->failures++;
        fill_after_pause(slot);
    }
}

void
crew_end_pauses(struct crew *crew)
{
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        crew->slots[i].failures = 0;
        crew->slots[i].pause = sd_event_source_disable_unref(crew->slots[i].pause);
    }
}

void
crew_start(struct crew *crew, struct nursery *nursery)
{
    crew->nursery = nursery;
    crew_end_pauses(crew);
    crew_settle(crew);
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
    if (crew_is_old(crew, worker) && worker->stage == STAGE_LENT && crew->asked > 0) {
        crew->asked--;
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
        int rc = crew->nursery == NULL ? -EHOSTDOWN : crew_slot_fork(slot, crew->nursery);
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
    struct nursery *nursery = worker->nursery;
    bool was_old = crew_is_old(crew, worker);
    bury(worker, cause);
    if (slot == selftest_slot(crew)) {
        selftest_slot_free(slot);
    } else if (nursery == crew->next) {
        adoption_disproved(crew->engine, crew->error != NULL ? crew->error : cause);
    } else if (!was_old) {
        slot->failures = useless || (quick && !expected) ? slot->failures + 1 : 0;
        if (useless || slot->failures > CREW_CRASHES_FREE) {
            fill_after_pause(slot);
        }
    }
    crew_settle(crew);
    adoption_worker_left(crew->engine);
    engine_changed(crew->engine);
}

void
crew_lost(struct crew *crew, const struct nursery *nursery)
{
    for (unsigned i = 0; i < slots_used(crew); i++) {
        struct slot *slot = &crew->slots[i];
        if (slot->worker != NULL && slot->worker->nursery == nursery) {
            bury(slot->worker, "killed");
        }
    }
    crew->next = crew->next == nursery ? NULL : crew->next;
    if (crew->nursery == nursery) {
        crew->nursery = NULL;
        crew_end_pauses(crew);
        selftest_slot_free(selftest_slot(crew));
    }
    crew_settle(crew);
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
        crew_worker_kill(worker);
    } else {
        enter_group(worker);
    }
    check_ready(worker);
}

/* For the clients */

void
crew_hand_out(struct crew *crew)
{
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->nursery == crew->nursery && worker->stage == STAGE_SPARE &&
            !worker->killed) {
            hand_out(worker);
        }
    }
}

void
crew_take_back(struct crew *crew)
{
    crew->asked = 0;
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (worker != NULL && worker->stage == STAGE_LENT) {
            worker->taken_back = true;
            crew_worker_kill(worker);
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
    crew_worker_kill(worker);
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
    return crew->nursery == NULL ? -EHOSTDOWN : crew_slot_fork(slot, crew->nursery);
}

unsigned
crew_left(const struct crew *crew, const struct nursery *nursery)
{
    unsigned n = 0;
    for (unsigned i = 0; i < slots_used(crew); i++) {
        const struct worker *worker = crew->slots[i].worker;
        n += worker != NULL && worker->nursery == nursery;
    }
    return n;
}

unsigned
crew_alive(const struct crew *crew)
{
    unsigned n = 0;
    for (unsigned i = 0; i < slots_used(crew); i++) {
        n += crew->slots[i].worker != NULL;
    }
    return n;
}

unsigned
crew_ready(const struct crew *crew)
{
    unsigned n = 0;
    for (unsigned i = 0; i < slots_used(crew); i++) {
        const struct worker *worker = crew->slots[i].worker;
        n += worker != NULL && worker->nursery != crew->next && worker->stage != STAGE_FORKING &&
             !worker->killed;
    }
    return n;
}

const char *
crew_error(const struct crew *crew)
{
    return crew->error;
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers of one generation after those of another. */
#include "config.h"
#include "crew-inner.h"

#include <errno.h>

#include "log.h"

/* What the slots of normal work hold. */
struct count {
    unsigned taken;  /* a worker, or a pause before one; not the one that proves the next */
    unsigned ready;  /* and nobody wants them gone */
    unsigned coming; /* not ready yet */
    unsigned old;    /* workers of before that nobody wants gone yet */
};

static void
count_slot(const struct crew *crew, const struct slot *slot, struct count *n)
{
    const struct worker *worker = slot->worker;
    if (worker == NULL) {
        n->taken += slot->pause != NULL;
        return;
    }
    if (worker->nursery == crew->next) {
        return;
    }
    bool stays = !worker->killed;
    n->taken++;
    n->ready += stays && worker->stage != STAGE_FORKING;
    n->coming += worker->nursery == crew->nursery && worker->stage == STAGE_FORKING;
    n->old += stays && crew_is_old(crew, worker);
}

static struct count
count(const struct crew *crew)
{
    struct count n = {0};
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        count_slot(crew, &crew->slots[i], &n);
    }
    n.ready -= MIN(n.ready, crew->asked);
    n.old -= MIN(n.old, crew->asked);
    return n;
}

/* Who is attached can have the old worker for as long as one scan, and then some. */
static uint64_t
patience_usec(const struct crew *crew)
{
    return (2 * crew->engine->settings->scan_timeout + 5) * G_USEC_PER_SEC;
}

static bool
is_lent_old(const struct crew *crew, const struct worker *worker)
{
    return crew_is_old(crew, worker) && worker->stage == STAGE_LENT && !worker->killed;
}

/* Asked in vain: an older posternd does not know what it was asked. */
static int
on_patience_end(sd_event_source *source, uint64_t usec, void *data)
{
    struct crew *crew = data;
    (void)source;
    (void)usec;
    crew->patience = sd_event_source_disable_unref(crew->patience);
    unsigned left = crew->asked;
    for (unsigned i = 0; i <= crew->n_workers && left > 0; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (is_lent_old(crew, worker)) {
            log_warning("worker %" G_GUINT64_FORMAT ": is not let go: killed", worker->number);
            left--;
            crew_worker_kill(worker);
        }
    }
    return 0;
}

/* Asks who is attached to let one of the old workers go; it knows which is idle. */
static void
ask_for_one(struct crew *crew)
{
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        const struct worker *worker = crew->slots[i].worker;
        if (is_lent_old(crew, worker)) {
            g_array_append_val(numbers, worker->number);
        }
    }
    if (numbers->len <= crew->asked ||
        !clients_release_worker(crew->engine->clients,
                                (const uint64_t *)(const void *)numbers->data, numbers->len)) {
        return;
    }
    crew->asked++;
    crew->patience = sd_event_source_disable_unref(crew->patience);
    (void)sd_event_add_time_relative(crew->engine->event, &crew->patience, CLOCK_MONOTONIC,
                                     patience_usec(crew), 0, on_patience_end, crew);
}

/* One that nobody has needs no asking. */
static bool
kill_spare(struct crew *crew)
{
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        struct worker *worker = crew->slots[i].worker;
        if (crew_is_old(crew, worker) && worker->stage != STAGE_LENT && !worker->killed) {
            crew_worker_kill(worker);
            return true;
        }
    }
    return false;
}

static void
fill_up(struct crew *crew)
{
    struct count n = count(crew);
    unsigned wanted = crew->n_workers + (n.old > 0 && n.coming == 0 ? 1 : 0);
    for (unsigned i = 0; i <= crew->n_workers && n.taken < wanted; i++) {
        struct slot *slot = &crew->slots[i];
        if (slot->worker == NULL && slot->pause == NULL) {
            crew_slot_fill(slot);
            n.taken++;
        }
    }
}

void
crew_settle(struct crew *crew)
{
    if (crew->nursery == NULL || !nursery_is_loaded(crew->nursery)) {
        return;
    }
    fill_up(crew);
    struct count n = count(crew);
    if (n.old > 0 && n.ready > crew->n_workers && !kill_spare(crew)) {
        ask_for_one(crew);
    }
}

int
crew_prove(struct crew *crew, struct nursery *next)
{
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        struct slot *slot = &crew->slots[i];
        if (slot->worker == NULL && slot->pause == NULL) {
            crew->next = next;
            return crew_slot_fork(slot, next);
        }
    }
    return -EBUSY;
}

void
crew_switch(struct crew *crew)
{
    crew->nursery = crew->next;
    crew->next = NULL;
    crew_end_pauses(crew);
    crew_hand_out(crew);
    crew_settle(crew);
}

void
crew_dismiss(struct crew *crew)
{
    crew->nursery = NULL;
    crew_end_pauses(crew);
    while (kill_spare(crew)) {
        ;
    }
    for (unsigned i = 0; i <= crew->n_workers; i++) {
        ask_for_one(crew);
    }
}

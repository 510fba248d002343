/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CREW_INNER_H
#define CREW_INNER_H

/* For crew.c and crew-exchange.c alone. */

#include <stdbool.h>
#include <glib.h>
#include <systemd/sd-event.h>

#include "crew.h"
#include "engine.h"
#include "nursery.h"

enum stage {
    STAGE_FORKING, /* until both its pidfd and its "ready" have come */
    STAGE_SPARE,
    STAGE_LENT,
};

struct worker {
    struct crew *crew;
    struct nursery *nursery; /* that forked it */
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
    unsigned n_workers;      /* that there are to be */
    struct slot *slots;      /* one more than workers, then those of enum special */
    struct nursery *nursery; /* that forks them; NULL: none has loaded */
    struct nursery *next;    /* to take over when a worker of it is ready; NULL: none */
    unsigned asked;          /* workers of before that who is attached was asked to let go */
    sd_event_source *patience;
    uint64_t last_number;
    bool selftest_again; /* asked for while the last one's worker was not gone yet */
    char *error;
};

/* Of the generation before: its nursery neither forks nor is about to. */
static inline bool
crew_is_old(const struct crew *crew, const struct worker *worker)
{
    return worker != NULL && worker->nursery != crew->nursery && worker->nursery != crew->next;
}

void crew_worker_kill(struct worker *worker);
/* Returns 0 or -errno. */
int crew_slot_fork(struct slot *slot, struct nursery *nursery);
/* The same from the crew's nursery; what fails is tried again after a pause. */
void crew_slot_fill(struct slot *slot);
/* All pauses end and what failed is forgotten. */
void crew_end_pauses(struct crew *crew);

/*
 * Brings the slots to what they should hold: a worker each but one; and while there are workers of
 * before, one of the new generation comes first, then one of them goes.
 */
void crew_settle(struct crew *crew);

#endif

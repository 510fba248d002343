/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ENGINE_H
#define ENGINE_H

/*
 * postern-engine, from the inside: the supervisor keeps a zygote alive, the adoption puts another
 * generation in its place, the crew keeps a worker in every slot, the clients ask and get workers.
 * They meet in this structure. One thread.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "adoption.h"
#include "age.h"
#include "clients.h"
#include "crew.h"
#include "evidence.h"
#include "groups.h"
#include "health-watch.h"
#include "report.h"
#include "settings.h"
#include "supervisor.h"
#include "trial.h"

struct engine {
    sd_event *event;
    struct settings *settings;
    const char *config; /* where they are from, as settings_load() takes it */
    const char *role;   /* what the cluster wants, as precedence_of() takes it */
    struct report report;
    struct supervisor *supervisor;
    GPtrArray *nurseries; /* all zygotes that are alive, of struct nursery *, borrowed */
    bool stopping;
    struct adoption *adoption;
    struct evidence *evidence;
    struct age age;
    struct crew *crew;
    struct clients *clients;
    struct groups *groups; /* NULL: there are none */
    char *groups_text;     /* about them, for people */
    struct health_watch *health;
    struct trial *trial;
    unsigned asides_left; /* processes of aside.h that were given up and are not gone yet */
    sd_event_source *gap; /* runs while no worker is ready, but one will be in a moment */
    bool gap_over;
};

/*
 * To be called whenever something changed: finds the state anew and tells whoever wants to know.
 * `ready` outlives the last ready worker by GAP_USEC: one slot whose worker is being replaced
 * (milliseconds) is no reason for a failover.
 */
void engine_changed(struct engine *engine);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SERVICE_HEALTH_H
#define SERVICE_HEALTH_H

/*
 * What posternd knows of the health of the service: the shared storage, the way back to the mail
 * server, overload. All of it would come along to another node, so it is yellow at most
 * (ha/base/health.h). The part that the cluster is told is kept in a file beside the engine's
 * directory, for postern-notify.
 */

#include <systemd/sd-event.h>

#include "health.h"
#include "pool.h"
#include "releaser.h"
#include "settings.h"
#include "spool.h"
#include "storage.h"

/* The storage thread answers within milliseconds; a client of the milter waits as long as this. */
#define SERVICE_HEALTH_SLOW_S 10

struct service_measure {
    bool state_full;
    gint64 state_wait_s; /* how long the storage thread took, or has not answered yet */
    bool mta_unreachable;
    unsigned queued; /* scans that wait for a worker */
    guint64 memory_used, memory_limit;
};

/* How CAUSE, one of the service's, stands by this one MEASURE. Pure. */
enum health_level service_health_judge(enum health_cause cause,
                                       const struct service_measure *measure);

struct service_health;

/* All borrowed, all outlive it. Returns 0 or -errno. */
int service_health_new(sd_event *event, const struct settings *settings, struct storage *storage,
                       struct pool *pool, const struct releaser *releaser,
                       const struct spool_budget *budget, struct service_health **ret);
/* Removes the file. Comes after storage_free(). NULL is fine. */
void service_health_free(struct service_health *service);

/* What holds now, borrowed. */
const struct health *service_health_now(const struct service_health *service);
/* The state has failed: this posternd ends. Says so, and service_health_free() leaves the file. */
void service_health_state_failed(struct service_health *service);

#endif

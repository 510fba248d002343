/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CONTROL_H
#define CONTROL_H

/*
 * The socket on which posternd answers the postern command (docs/ARCHITECTURE.md, "CLI ->
 * posternd"). Peers are root and posternd's own user. Nothing here blocks: files are never read,
 * scans wait in the pool, the state is asked in the storage thread, and a client that does not
 * read its answers or says nothing is closed after CONTROL_IDLE_SECONDS.
 */

#include <jansson.h>
#include <systemd/sd-event.h>

#include "counters.h"
#include "pool.h"
#include "releaser.h"
#include "service-health.h"
#include "settings.h"
#include "spool.h"
#include "storage.h"

#define CONTROL_IDLE_SECONDS 30
#define CONTROL_CLIENTS 32

/* What is asked about and used; all borrowed, all outlive the control. */
struct control_services {
    struct pool *pool;
    struct storage *storage;
    struct releaser *releaser;
    struct counters *counters;
    struct spool_budget *budget;
    const struct service_health *health;
    json_t *(*milter_status)(void *data); /* an array, a new reference, or NULL */
    void *milter_data;
    json_t *(*clamd_status)(void *data); /* of MILTER_DATA: an object, or NULL; may be NULL */
};

struct control;

/* Listens on SETTINGS->control_socket. Returns 0, or -errno with one sentence in *ERROR_R. */
int control_new(sd_event *event, const struct settings *settings,
                const struct control_services *services, struct control **ret, char **error_r);
/* Closes the clients (scans are cancelled) and removes the socket. NULL is fine. */
void control_free(struct control *control);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "clamd-session.h"
#include "listener.h"
#include "log.h"

/* At most one line per this time about connections that are turned away. */
#define COMPLAIN_US (60 * G_TIME_SPAN_SECOND)

struct door {
    struct clamd *clamd;
    struct listener *listener;
    guint connections;
};

struct clamd {
    struct clamd_services services;
    GPtrArray *doors;
    gint64 complained_us;
    guint64 refused;
};

static void
door_free(void *p)
{
    struct door *door = p;
    listener_free(door->listener);
    g_free(door);
}

static void
on_session_ended(void *data, struct clamd_session *session)
{
    struct clamd *clamd = data;
    struct door *door = g_hash_table_lookup(clamd->services.sessions, session);
    door->connections--;
    g_hash_table_remove(clamd->services.sessions, session);
    clamd_session_free(session);
}

static void
turn_away(struct clamd *clamd, int fd)
{
    gint64 now = g_get_monotonic_time();
    clamd->refused++;
    if (clamd->complained_us == 0 || now - clamd->complained_us > COMPLAIN_US) {
        log_warning("clamd: more than clamd_clients = %" G_GUINT64_FORMAT
                    " connections: the others are closed",
                    clamd->services.settings->clamd_clients);
        clamd->complained_us = now;
    }
    close(fd);
}

static void
on_accepted(void *data, int fd)
{
    struct door *door = data;
    struct clamd *clamd = door->clamd;
    struct clamd_session *session = NULL;
    if (g_hash_table_size(clamd->services.sessions) >= clamd->services.settings->clamd_clients) {
        turn_away(clamd, fd);
        return;
    }
    int rc = clamd_session_new(&clamd->services, fd, on_session_ended, clamd, &session);
    if (rc < 0) {
        log_err("clamd: a connection could not be served: %s", g_strerror(-rc));
        close(fd);
        return;
    }
    g_hash_table_insert(clamd->services.sessions, session, door);
    door->connections++;
}

static int
open_doors(struct clamd *clamd, char **error_r)
{
    const struct settings *settings = clamd->services.settings;
    struct listener_options options = {.setting = "clamd_listen"};
    options.mode = (unsigned)strtoul(settings->clamd_socket_mode, NULL, 8);
    for (char **address = settings->clamd_listen; *address != NULL; address++) {
        struct door *door = g_new0(struct door, 1);
        door->clamd = clamd;
        g_ptr_array_add(clamd->doors, door);
        options.address = *address;
        int rc = listener_open(clamd->services.event, &options, on_accepted, door, &door->listener,
                               error_r);
        if (rc < 0) {
            return rc;
        }
        if (listener_is_public(door->listener)) {
            log_warning("clamd_listen = %s: EVERYBODY who reaches this address may have things "
                        "scanned and use up Postern's time: the clamd protocol knows no "
                        "authentication; use a unix socket or 127.0.0.1, or let a packet filter "
                        "decide who comes in",
                        *address);
        }
    }
    return 0;
}

static int
services_open(struct clamd *clamd)
{
    struct clamd_services *services = &clamd->services;
    guint workers = settings_workers(services->settings);
    services->parallel = workers + 1;
    services->sessions = g_hash_table_new(NULL, NULL);
    services->scans = clamd_scans_new(services->pool, workers + 1);
    int rc = clamd_memory_new(services->event, services->budget, &services->memory);
    if (rc >= 0) {
        rc = offload_new(services->event, services->settings->scan_timeout * G_USEC_PER_SEC,
                         &services->offload);
    }
    return rc;
}

int
clamd_new(sd_event *event, const struct settings *settings, struct pool *pool,
          struct spool_budget *budget, const struct clamd_controls *controls, struct clamd **ret,
          char **error_r)
{
    struct clamd *clamd = g_new0(struct clamd, 1);
    clamd->services = (struct clamd_services){
        .event = event,
        .settings = settings,
        .pool = pool,
        .budget = budget,
        .reload = controls->reload,
        .shutdown = controls->shutdown,
        .data = controls->data,
    };
    clamd->doors = g_ptr_array_new_with_free_func(door_free);
    int rc = services_open(clamd);
    if (rc < 0) {
        *error_r = g_strdup_printf("the clamd front-end failed: %s", g_strerror(-rc));
    } else {
        rc = open_doors(clamd, error_r);
    }
    if (rc < 0) {
        clamd_free(clamd);
        return rc;
    }
    *ret = clamd;
    return 0;
}

void
clamd_free(struct clamd *clamd)
{
    if (clamd == NULL) {
        return;
    }
    GHashTableIter iter;
    void *session;
    g_hash_table_iter_init(&iter, clamd->services.sessions);
    while (g_hash_table_iter_next(&iter, &session, NULL)) {
        clamd_session_free(session);
    }
    g_hash_table_unref(clamd->services.sessions);
    g_ptr_array_unref(clamd->doors);
    clamd_scans_free(clamd->services.scans);
    offload_free(clamd->services.offload);
    clamd_memory_free(clamd->services.memory);
    g_free(clamd);
}

json_t *
clamd_status(const struct clamd *clamd)
{
    const struct clamd_services *services = &clamd->services;
    json_t *listeners = json_array();
    for (guint i = 0; i < clamd->doors->len; i++) {
        const struct door *door = g_ptr_array_index(clamd->doors, i);
        json_array_append_new(listeners,
                              json_pack("{s:s, s:i}", "address", listener_address(door->listener),
                                        "connections", (int)door->connections));
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:i, s:i}", "listeners", listeners, "scanned",
                     (json_int_t)services->scanned, "found", (json_int_t)services->found, "refused",
                     (json_int_t)clamd->refused, "running",
                     (int)clamd_scans_running(services->scans), "waiting",
                     (int)clamd_scans_waiting(services->scans));
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter.h"

#include <unistd.h>

#include "counters.h"
#include "listener.h"
#include "log.h"
#include "milter-session.h"

/* At most one line per this time about connections that are turned away. */
#define COMPLAIN_US (60 * G_TIME_SPAN_SECOND)

struct door {
    struct milter *milter;
    struct listener *listener; /* NULL once draining */
    char *address;
    bool submission;
    guint connections;
};

struct milter {
    struct milter_services services;
    GPtrArray *doors;
    GHashTable *sessions; /* struct milter_session * -> its struct door * */
    gint64 complained_us;
    sd_event_source *empty; /* calls DRAINED from the event loop */
    milter_drained *drained;
    void *drained_data;
};

static void
door_free(void *p)
{
    struct door *door = p;
    listener_free(door->listener);
    g_free(door->address);
    g_free(door);
}

static int
on_empty(sd_event_source *source, void *data)
{
    struct milter *milter = data;
    (void)source;
    milter->drained(milter->drained_data);
    return 0;
}

static void
check_empty(struct milter *milter)
{
    if (milter->drained != NULL && g_hash_table_size(milter->sessions) == 0) {
        (void)sd_event_source_set_enabled(milter->empty, SD_EVENT_ONESHOT);
    }
}

static void
on_session_ended(void *data, struct milter_session *session)
{
    struct milter *milter = data;
    struct door *door = g_hash_table_lookup(milter->sessions, session);
    door->connections--;
    g_hash_table_remove(milter->sessions, session);
    milter_session_free(session);
    check_empty(milter);
}

static void
turn_away(struct milter *milter, int fd)
{
    gint64 now = g_get_monotonic_time();
    milter->services.transaction->counters->refused++;
    if (milter->complained_us == 0 || now - milter->complained_us > COMPLAIN_US) {
        log_warning("milter: more than clients = %" G_GUINT64_FORMAT
                    " connections: turned away, the senders get 451",
                    milter->services.settings->clients);
        milter->complained_us = now;
    }
    close(fd);
}

static void
on_accepted(void *data, int fd)
{
    struct door *door = data;
    struct milter *milter = door->milter;
    struct milter_session *session = NULL;
    milter->services.transaction->counters->connections++;
    if (g_hash_table_size(milter->sessions) >= milter->services.settings->clients) {
        turn_away(milter, fd);
        return;
    }
    int rc = milter_session_new(&milter->services, fd, door->submission, on_session_ended, milter,
                                &session);
    if (rc < 0) {
        log_err("milter: a connection could not be served: %s", g_strerror(-rc));
        close(fd);
        return;
    }
    g_hash_table_insert(milter->sessions, session, door);
    door->connections++;
}

static int
open_doors(struct milter *milter, char *const *addresses, bool submission, char **error_r)
{
    for (char *const *address = addresses; address != NULL && *address != NULL; address++) {
        struct door *door = g_new0(struct door, 1);
        door->milter = milter;
        door->submission = submission;
        door->address = g_strdup(*address);
        g_ptr_array_add(milter->doors, door);
        const struct listener_options options = {
            .setting = submission ? "submission_listen" : "milter_listen", .address = *address};
        int rc = listener_open(milter->services.event, &options, on_accepted, door, &door->listener,
                               error_r);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int
milter_new(sd_event *event, const struct settings *settings,
           struct transaction_services *transaction, struct spool_budget *budget,
           struct milter **ret, char **error_r)
{
    struct milter *milter = g_new0(struct milter, 1);
    /* PROGRESS also keeps our own idle timer from ending a connection that waits for us. */
    milter->services = (struct milter_services){
        .event = event,
        .settings = settings,
        .transaction = transaction,
        .budget = budget,
        .progress_us = MIN((guint64)MILTER_PROGRESS_US, settings->client_timeout * 1000000 / 3),
    };
    milter->doors = g_ptr_array_new_with_free_func(door_free);
    milter->sessions = g_hash_table_new(NULL, NULL);
    int rc = sd_event_add_defer(event, &milter->empty, on_empty, milter);
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(milter->empty, SD_EVENT_OFF);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("the event loop failed: %s", g_strerror(-rc));
    } else {
        rc = open_doors(milter, settings->milter_listen, false, error_r);
    }
    if (rc >= 0) {
        rc = open_doors(milter, settings->submission_listen, true, error_r);
    }
    if (rc < 0) {
        milter_free(milter);
        return rc;
    }
    *ret = milter;
    return 0;
}

void
milter_free(struct milter *milter)
{
    if (milter == NULL) {
        return;
    }
    GHashTableIter iter;
    void *session;
    g_hash_table_iter_init(&iter, milter->sessions);
    while (g_hash_table_iter_next(&iter, &session, NULL)) {
        milter_session_free(session);
    }
    g_hash_table_unref(milter->sessions);
    g_ptr_array_unref(milter->doors);
    sd_event_source_disable_unref(milter->empty);
    g_free(milter);
}

void
milter_drain(struct milter *milter, milter_drained *drained, void *data)
{
    GHashTableIter iter;
    void *session;
    milter->drained = drained;
    milter->drained_data = data;
    for (guint i = 0; i < milter->doors->len; i++) {
        struct door *door = g_ptr_array_index(milter->doors, i);
        listener_free(g_steal_pointer(&door->listener));
    }
    g_hash_table_iter_init(&iter, milter->sessions);
    while (g_hash_table_iter_next(&iter, &session, NULL)) {
        milter_session_drain(session);
    }
    check_empty(milter);
}

json_t *
milter_status(const struct milter *milter)
{
    json_t *array = json_array();
    for (guint i = 0; i < milter->doors->len; i++) {
        const struct door *door = g_ptr_array_index(milter->doors, i);
        json_array_append_new(array,
                              json_pack("{s:s, s:b, s:i}", "address", door->address, "submission",
                                        door->submission, "connections", (int)door->connections));
    }
    return array;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "clients.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "packet.h"
#include "protocol.h"

#define CLIENTS_MAX 64
/* Everybody can connect: who is refused must not fill the log. */
#define REFUSALS_USEC (60 * 1000 * 1000LL)
#define LISTEN_TRIES 20
#define LISTEN_PAUSE_USEC 50000

struct client {
    struct clients *clients;
    int sock;
    int fd; /* that came with the request that is answered; -1: none */
    pid_t pid;
    uid_t uid;
    sd_event_source *source;
    bool awaits_selftest;
    bool awaits_order; /* whether it is taken */
    bool awaits_adoption;
    bool closed; /* to be freed when nobody iterates over the list any more */
};

struct clients {
    struct engine *engine;
    char *path;
    int sock;
    sd_event_source *source;
    sd_event_source *sweep;
    GPtrArray *list; /* of struct client * */
    struct client *attached;
    gint64 left_us; /* when the last one that was attached was gone */
    uid_t daemon_uid;
    bool has_daemon_user;
    gint64 refusal_logged_us;
    guint64 refusals; /* since then */
};

static void
client_free(void *p)
{
    struct client *client = p;
    sd_event_source_disable_unref(client->source);
    close(client->sock);
    g_free(client);
}

static int
on_sweep(sd_event_source *source, void *data)
{
    struct clients *clients = data;
    (void)source;
    for (guint i = clients->list->len; i-- > 0;) {
        const struct client *client = g_ptr_array_index(clients->list, i);
        if (client->closed) {
            g_ptr_array_remove_index(clients->list, i);
        }
    }
    return 0;
}

/* The connection is over; the rest is done from the event loop, because a failed send can come
 * from anywhere. */
static void
client_close(struct client *client)
{
    struct clients *clients = client->clients;
    if (client->closed) {
        return;
    }
    client->closed = true;
    sd_event_source_set_enabled(client->source, SD_EVENT_OFF);
    sd_event_source_set_enabled(clients->sweep, SD_EVENT_ONESHOT);
    if (clients->attached == client) {
        clients->attached = NULL;
        clients->left_us = g_get_monotonic_time();
        log_notice("process %d is not attached any more: its workers are replaced",
                   (int)client->pid);
        crew_take_back(clients->engine->crew);
        adoption_consider(clients->engine);
    }
}

/* Takes PACKET over. Returns false when the client does not take it. */
static bool
client_send(struct client *client, json_t *packet, int fd)
{
    int rc = client->closed ? -ENOTCONN : packet_send(client->sock, packet, fd);
    json_decref(packet);
    if (rc < 0 && !client->closed) {
        log_warning("process %d: does not take what is sent: %s", (int)client->pid,
                    g_strerror(-rc));
        client_close(client);
    }
    return rc == 0;
}

static void
refuse(struct client *client, const char *error)
{
    (void)client_send(client, json_pack("{s:b, s:s}", "ok", 0, "error", error), -1);
}

/* The report with one more pair in front. */
static json_t *
report_with(const struct clients *clients, const char *key, json_t *value)
{
    json_t *packet = report_to_json(&clients->engine->report);
    json_object_set_new(packet, key, value);
    if (clients->engine->trial != NULL) {
        json_object_set_new(packet, "trial", trial_to_json(clients->engine->trial));
    }
    return packet;
}

/* Operations */

static void
op_status(struct client *client, json_t *request)
{
    (void)request;
    (void)client_send(client, report_with(client->clients, "ok", json_true()), -1);
}

static void
op_selftest(struct client *client, json_t *request)
{
    (void)request;
    int rc = crew_selftest(client->clients->engine->crew);
    if (rc == 0) {
        client->awaits_selftest = true;
    } else {
        refuse(client, rc == -EHOSTDOWN ? "no signatures are loaded yet" : g_strerror(-rc));
    }
}

static void
op_attach(struct client *client, json_t *request)
{
    struct clients *clients = client->clients;
    g_autofree char *mismatch = NULL;
    if (protocol_common(request, "posternd", &mismatch) == 0) {
        log_warning("process %d: %s", (int)client->pid, mismatch);
        refuse(client, mismatch);
        return;
    }
    if (clients->attached != NULL) {
        g_autofree char *text =
            g_strdup_printf("process %d is attached already", (int)clients->attached->pid);
        refuse(client, text);
        return;
    }
    if (client_send(client, json_pack("{s:b}", "ok", 1), -1)) {
        clients->attached = client;
        log_notice("process %d is attached", (int)client->pid);
        clients_state_changed(clients);
        crew_hand_out(clients->engine->crew);
    }
}

static void
op_kill(struct client *client, json_t *request)
{
    json_int_t number;
    if (client->clients->attached != client) {
        refuse(client, "only who is attached may kill workers");
    } else if (json_unpack(request, "{s:I}", "worker", &number) < 0) {
        refuse(client, "kill needs the number of a worker");
    } else {
        /* One that is not there has ended by itself: the event about it is on its way. */
        (void)crew_kill(client->clients->engine->crew, (uint64_t)number);
    }
}

/* What posternd may not: it reads what strangers send, and is not to choose the signatures. */
static bool
is_administrator(struct client *client)
{
    bool may = client->uid == 0 || client->uid == geteuid();
    if (!may) {
        refuse(client, "only root may");
    }
    return may;
}

static void
op_adopt(struct client *client, json_t *request)
{
    struct adoption_request order = {0};
    int force = 0;
    g_autofree char *error = NULL;
    if (!is_administrator(client)) {
        return;
    }
    if (json_unpack(request, "{s:s, s?b, s?s}", "generation", &order.generation, "force", &force,
                    "reject", &order.reject) < 0) {
        refuse(client, "adopt needs a generation");
        return;
    }
    order.force = force;
    if (adoption_request(client->clients->engine, &order, &error) < 0) {
        refuse(client, error);
    } else {
        client->awaits_order = true;
    }
}

static void
op_hold(struct client *client, json_t *request)
{
    json_int_t seconds;
    const char *why = "another program asked for it";
    if (!is_administrator(client)) {
        return;
    }
    if (json_unpack(request, "{s:I, s?s}", "seconds", &seconds, "why", &why) < 0 || seconds < 0) {
        refuse(client, "hold needs a number of seconds");
        return;
    }
    adoption_hold(client->clients->engine, (uint64_t)seconds, why);
    (void)client_send(client, json_pack("{s:b}", "ok", 1), -1);
}

/* No answer: it is one of many that the engine hears of who scans. */
static void
op_quiet(struct client *client, json_t *request)
{
    (void)request;
    if (client->clients->attached == client) {
        adoption_quiet(client->clients->engine);
    } else {
        refuse(client, "only who is attached knows");
    }
}

/* No answer either. */
static void
op_evidence(struct client *client, json_t *request)
{
    (void)request;
    if (client->clients->attached != client || client->fd < 0) {
        refuse(client, "only who is attached may bring a message");
        return;
    }
    evidence_take(client->clients->engine->evidence, client->fd);
}

static void
op_try(struct client *client, json_t *request)
{
    const char *generation = json_string_value(json_object_get(request, "generation"));
    g_autofree char *error = NULL;
    if (!is_administrator(client)) {
        return;
    }
    if (generation == NULL) {
        refuse(client, "try needs a generation");
        return;
    }
    if (trial_request(client->clients->engine->trial, generation, false, &error) < 0) {
        refuse(client, error);
    } else {
        (void)client_send(client, json_pack("{s:b}", "ok", 1), -1);
    }
}

static const struct {
    const char *name;
    void (*run)(struct client *client, json_t *request);
} operations[] = {
    {"status", op_status}, {"selftest", op_selftest}, {"attach", op_attach},
    {"kill", op_kill},     {"adopt", op_adopt},       {"hold", op_hold},
    {"quiet", op_quiet},   {"evidence", op_evidence}, {"try", op_try},
};

static void
dispatch(struct client *client, json_t *request)
{
    const char *op = json_string_value(json_object_get(request, "op"));
    for (size_t i = 0; op != NULL && i < G_N_ELEMENTS(operations); i++) {
        if (strcmp(operations[i].name, op) == 0) {
            operations[i].run(client, request);
            return;
        }
    }
    refuse(client, "the operation is not known");
}

static int
on_request(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    (void)source;
    (void)revents;
    struct client *client = data;
    json_auto_t *request = NULL;
    client->fd = -1;
    int rc = packet_receive(sock, &request, &client->fd);
    if (rc == -EAGAIN) {
        return 0;
    }
    if (rc > 0) {
        dispatch(client, request);
        if (client->fd >= 0) {
            close(client->fd);
        }
    } else {
        if (rc < 0) {
            log_warning("process %d: %s", (int)client->pid, g_strerror(-rc));
        }
        client_close(client);
    }
    return 0;
}

/* Connections */

static bool
may_ask(const struct clients *clients, uid_t uid)
{
    return uid == 0 || uid == geteuid() || (clients->has_daemon_user && uid == clients->daemon_uid);
}

static void
accept_client(struct clients *clients, int sock, const struct packet_peer *peer)
{
    struct client *client = g_new0(struct client, 1);
    client->clients = clients;
    client->sock = sock;
    client->pid = peer->pid;
    client->uid = peer->uid;
    int rc =
        sd_event_add_io(clients->engine->event, &client->source, sock, EPOLLIN, on_request, client);
    if (rc < 0) {
        client_free(client);
        return;
    }
    g_ptr_array_add(clients->list, client);
}

static void
log_refusal(struct clients *clients, const struct packet_peer *peer)
{
    gint64 now = g_get_monotonic_time();
    clients->refusals++;
    if (clients->refusal_logged_us != 0 && now - clients->refusal_logged_us < REFUSALS_USEC) {
        return;
    }
    log_warning("process %d of user %u: refused (%" G_GUINT64_FORMAT " since the last such line)",
                (int)peer->pid, (unsigned)peer->uid, clients->refusals);
    clients->refusal_logged_us = now;
    clients->refusals = 0;
}

static int
on_connection(sd_event_source *source, int listener, uint32_t revents, void *data)
{
    (void)source;
    (void)revents;
    struct clients *clients = data;
    struct packet_peer peer;
    int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (sock < 0) {
        return 0;
    }
    bool known = packet_peer(sock, &peer) == 0;
    if (!known || !may_ask(clients, peer.uid) || clients->list->len >= CLIENTS_MAX) {
        json_auto_t *answer =
            json_pack("{s:b, s:s}", "ok", 0, "error", "you may not ask, or too many do");
        (void)packet_send(sock, answer, -1);
        close(sock);
        if (known) {
            log_refusal(clients, &peer);
        }
        return 0;
    }
    accept_client(clients, sock, &peer);
    return 0;
}

static int
watch(struct clients *clients)
{
    sd_event *event = clients->engine->event;
    int rc =
        sd_event_add_io(event, &clients->source, clients->sock, EPOLLIN, on_connection, clients);
    if (rc >= 0) {
        rc = sd_event_add_defer(event, &clients->sweep, on_sweep, clients);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(clients->sweep, SD_EVENT_OFF);
    }
    return MIN(rc, 0);
}

/* A process that an engine had just begun when it was killed has its socket for a moment longer. */
static int
listen_at(const char *path)
{
    int sock = packet_listen(path, 0666);
    for (int i = 0; sock == -EADDRINUSE && i < LISTEN_TRIES; i++) {
        g_usleep(LISTEN_PAUSE_USEC);
        sock = packet_listen(path, 0666);
    }
    return sock;
}

int
clients_new(struct engine *engine, struct clients **ret_clients, char **error_r)
{
    struct clients *clients = g_new0(struct clients, 1);
    const struct passwd *user = getpwnam(engine->settings->daemon_user);
    clients->engine = engine;
    clients->list = g_ptr_array_new_with_free_func(client_free);
    clients->left_us = g_get_monotonic_time();
    clients->path = g_build_filename(engine->settings->engine_dir, "engine.sock", NULL);
    clients->has_daemon_user = user != NULL;
    clients->daemon_uid = user != NULL ? user->pw_uid : 0;
    /* Open to all, because who may ask is told by credentials, not by a mode. */
    clients->sock = listen_at(clients->path);
    int rc = clients->sock < 0 ? clients->sock : watch(clients);
    if (rc < 0) {
        *error_r = rc == -EADDRINUSE
                       ? g_strdup_printf("%s: another postern-engine listens there", clients->path)
                       : g_strdup_printf("%s: %s%s", clients->path, g_strerror(-rc),
                                         rc == -ENOENT ? "; make the directory engine_dir" : "");
        if (clients->sock < 0) {
            g_clear_pointer(&clients->path, g_free);
        }
        clients_free(clients);
        return rc;
    }
    *ret_clients = clients;
    return 0;
}

void
clients_free(struct clients *clients)
{
    if (clients == NULL) {
        return;
    }
    g_ptr_array_unref(clients->list);
    sd_event_source_disable_unref(clients->source);
    sd_event_source_disable_unref(clients->sweep);
    if (clients->sock >= 0) {
        close(clients->sock);
    }
    if (clients->path != NULL) {
        (void)unlink(clients->path);
    }
    g_free(clients->path);
    g_free(clients);
}

bool
clients_give_worker(struct clients *clients, uint64_t number, int channel)
{
    return clients->attached != NULL &&
           client_send(clients->attached,
                       json_pack("{s:s, s:I}", "event", "worker", "worker", (json_int_t)number),
                       channel);
}

bool
clients_release_worker(struct clients *clients, const uint64_t *numbers, size_t count)
{
    if (clients->attached == NULL) {
        return false;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer((json_int_t)numbers[i]));
    }
    return client_send(clients->attached,
                       json_pack("{s:s, s:o}", "event", "release", "workers", list), -1);
}

void
clients_worker_gone(struct clients *clients, uint64_t number, const char *cause)
{
    if (clients->attached != NULL) {
        (void)client_send(clients->attached,
                          json_pack("{s:s, s:I, s:s}", "event", "gone", "worker",
                                    (json_int_t)number, "cause", cause),
                          -1);
    }
}

void
clients_state_changed(struct clients *clients)
{
    if (clients->attached != NULL) {
        (void)client_send(clients->attached, report_with(clients, "event", json_string("state")),
                          -1);
    }
}

int64_t
clients_unattached_us(const struct clients *clients)
{
    return clients->attached != NULL ? -1 : g_get_monotonic_time() - clients->left_us;
}

void
clients_order_taken(struct clients *clients, const char *error)
{
    for (guint i = 0; i < clients->list->len; i++) {
        struct client *client = g_ptr_array_index(clients->list, i);
        if (client->awaits_order) {
            client->awaits_order = false;
            client->awaits_adoption = error == NULL;
            if (error != NULL) {
                refuse(client, error);
            }
        }
    }
}

void
clients_adoption_done(struct clients *clients, const char *generation, const char *error,
                      const char *waits)
{
    for (guint i = 0; i < clients->list->len; i++) {
        struct client *client = g_ptr_array_index(clients->list, i);
        if (client->awaits_adoption) {
            client->awaits_adoption = false;
            (void)client_send(client,
                              json_pack("{s:b, s:s, s:s*, s:s*}", "ok", error == NULL, "generation",
                                        generation, "error", error, "waits", waits),
                              -1);
        }
    }
}

void
clients_selftest_done(struct clients *clients, int64_t ms, const char *error)
{
    for (guint i = 0; i < clients->list->len; i++) {
        struct client *client = g_ptr_array_index(clients->list, i);
        if (!client->awaits_selftest) {
            continue;
        }
        client->awaits_selftest = false;
        if (error != NULL) {
            refuse(client, error);
        } else {
            (void)client_send(client, json_pack("{s:b, s:I}", "ok", 1, "ms", (json_int_t)ms), -1);
        }
    }
}

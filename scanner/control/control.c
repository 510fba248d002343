/* SPDX-License-Identifier: GPL-2.0-only */
#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control-client.h"
#include "log.h"
#include "text.h"

/* When accept() fails for want of descriptors the socket stays readable: no busy loop then. */
#define ACCEPTS_PER_SECOND 100

struct control {
    sd_event *event;
    const struct settings *settings;
    struct control_services services;
    gint64 since;
    int sock;
    sd_event_source *source;
    GPtrArray *clients; /* of struct control_client *, owned */
};

enum client_phase {
    PHASE_READING, /* waits for a request */
    PHASE_WORKING, /* an operation works */
    PHASE_SENDING, /* an answer waits to leave */
};

struct control_client {
    struct control *control;
    struct packet_peer peer;
    int sock;
    enum client_phase phase;
    sd_event_source *io;
    sd_event_source *timer;
    json_t *answer;
    int answer_fd;
    control_next *next;
    void *work;
    control_cancel *cancel;
};

static const struct {
    const char *name;
    control_operation *run;
    gboolean takes_fd;
} operations[] = {
    {"status", control_status, FALSE},
    {"scan", control_scan, TRUE},
    {"quarantine-list", control_quarantine_list, FALSE},
    {"quarantine-usage", control_quarantine_usage, FALSE},
    {"quarantine-show", control_quarantine_show, FALSE},
    {"quarantine-delete", control_quarantine_delete, FALSE},
    {"quarantine-release", control_quarantine_release, FALSE},
    {"selftest", control_selftest, FALSE},
    {"incidents", control_incidents, FALSE},
    {"counters", control_counters, FALSE},
    {"finish-upgrade", control_finish_upgrade, FALSE},
};

static void
client_free(void *p)
{
    struct control_client *client = p;
    if (client->cancel != NULL) {
        client->cancel(client->work);
    }
    sd_event_source_disable_unref(client->io);
    sd_event_source_disable_unref(client->timer);
    json_decref(client->answer);
    if (client->answer_fd >= 0) {
        close(client->answer_fd);
    }
    close(client->sock);
    g_free(client);
}

static void
client_close(struct control_client *client)
{
    g_ptr_array_remove_fast(client->control->clients, client);
}

/* Only a client that is to do something can be late; a scan has the pool's deadline. */
static void
phase_set(struct control_client *client, enum client_phase phase)
{
    static const uint32_t events[] = {
        [PHASE_READING] = EPOLLIN, [PHASE_WORKING] = 0, [PHASE_SENDING] = EPOLLOUT};
    client->phase = phase;
    (void)sd_event_source_set_io_events(client->io, events[phase]);
    (void)sd_event_source_set_time_relative(client->timer, CONTROL_IDLE_SECONDS * G_USEC_PER_SEC);
    (void)sd_event_source_set_enabled(client->timer,
                                      phase == PHASE_WORKING ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

const struct control_services *
control_client_services(const struct control_client *client)
{
    return &client->control->services;
}

const struct settings *
control_client_settings(const struct control_client *client)
{
    return client->control->settings;
}

const struct packet_peer *
control_client_peer(const struct control_client *client)
{
    return &client->peer;
}

gint64
control_client_since(const struct control_client *client)
{
    return client->control->since;
}

void
control_client_set_work(struct control_client *client, void *work, control_cancel *cancel)
{
    client->work = work;
    client->cancel = cancel;
}

/* The answer has left: the operation goes on, or the next request may come. */
static void
answer_sent(struct control_client *client)
{
    control_next *next = g_steal_pointer(&client->next);
    json_decref(g_steal_pointer(&client->answer));
    if (client->answer_fd >= 0) {
        close(client->answer_fd);
        client->answer_fd = -1;
    }
    if (next != NULL) {
        phase_set(client, PHASE_WORKING);
        next(client, client->work);
    } else {
        control_client_set_work(client, NULL, NULL);
        phase_set(client, PHASE_READING);
    }
}

static void
answer_send(struct control_client *client)
{
    int rc = packet_send(client->sock, client->answer, client->answer_fd);
    if (rc == -EAGAIN) {
        if (client->phase != PHASE_SENDING) {
            phase_set(client, PHASE_SENDING);
        }
    } else if (rc < 0) {
        if (rc != -EPIPE && rc != -ECONNRESET) {
            log_warning("control: an answer could not be sent: %s", g_strerror(-rc));
        }
        client_close(client);
    } else {
        answer_sent(client);
    }
}

void
control_client_answer(struct control_client *client, json_t *answer, int fd, control_next *next)
{
    client->answer = answer;
    client->answer_fd = fd;
    client->next = next;
    answer_send(client);
}

static json_t *
refusal(const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    return json_pack("{s:b, s:s}", "ok", 0, "error", text);
}

void
control_client_refuse(struct control_client *client, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *answer = refusal(format, args);
    va_end(args);
    control_client_answer(client, answer, -1, NULL);
}

static void
path_remove(json_t *object, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);
    char **name = names;
    for (; name[1] != NULL; name++) {
        object = json_object_get(object, *name);
    }
    (void)json_object_del(object, *name);
}

gboolean
control_fit(json_t *answer, const char *const paths[])
{
    for (; json_dumpb(answer, NULL, 0, JSON_COMPACT) > PACKET_MAX; paths++) {
        if (*paths == NULL) {
            return FALSE;
        }
        path_remove(answer, *paths);
        json_t *left_out = json_object_get(answer, "left_out");
        if (left_out == NULL) {
            left_out = json_array();
            json_object_set_new(answer, "left_out", left_out);
        }
        json_array_append_new(left_out, json_string(*paths));
    }
    return TRUE;
}

static void
dispatch(struct control_client *client, json_t *request, int fd)
{
    const char *name = json_string_value(json_object_get(request, "op"));
    phase_set(client, PHASE_WORKING);
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(operations); i++) {
        if (strcmp(operations[i].name, name) == 0) {
            if (fd >= 0 && !operations[i].takes_fd) {
                close(fd);
                fd = -1;
            }
            operations[i].run(client, request, fd);
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    g_autofree char *shown = text_escape(name, 40);
    control_client_refuse(client, "unknown operation %s", shown);
}

static void
request_read(struct control_client *client)
{
    json_t *request = NULL;
    int fd = -1;
    int rc = packet_receive(client->sock, &request, &fd);
    if (rc == 1) {
        dispatch(client, request, fd);
        json_decref(request);
    } else if (rc != -EAGAIN) {
        if (rc == -EBADMSG) {
            log_warning("control: process %d of user %u sent something broken; closed",
                        client->peer.pid, client->peer.uid);
        }
        client_close(client);
    }
}

static int
on_client(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct control_client *client = data;
    (void)source;
    (void)fd;
    if (client->phase == PHASE_READING && (events & EPOLLIN) != 0) {
        request_read(client);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        client_close(client);
    } else if (client->phase == PHASE_SENDING) {
        answer_send(client);
    }
    return 0;
}

static int
on_late(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    client_close(data);
    return 0;
}

/* Returns NULL when PEER may ask, else why not. */
static const char *
peer_refused(const struct control *control, const struct packet_peer *peer)
{
    if (peer->uid != 0 && peer->uid != geteuid()) {
        return "only root and the user of posternd may ask here";
    }
    if (control->clients->len >= CONTROL_CLIENTS) {
        return "too many clients at the same time; try again later";
    }
    return NULL;
}

static void
client_refuse(int sock, const struct packet_peer *peer, const char *why)
{
    json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "error", why);
    (void)packet_send(sock, answer, -1);
    json_decref(answer);
    close(sock);
    log_warning("control: process %d of user %u refused: %s", peer->pid, peer->uid, why);
}

static void
client_new(struct control *control, int sock, const struct packet_peer *peer)
{
    struct control_client *client = g_new0(struct control_client, 1);
    client->control = control;
    client->peer = *peer;
    client->sock = sock;
    client->answer_fd = -1;
    g_ptr_array_add(control->clients, client);
    int rc = sd_event_add_io(control->event, &client->io, sock, EPOLLIN, on_client, client);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(control->event, &client->timer, CLOCK_MONOTONIC,
                                        CONTROL_IDLE_SECONDS * G_USEC_PER_SEC, G_USEC_PER_SEC,
                                        on_late, client);
    }
    if (rc < 0) {
        client_close(client);
    }
}

static int
on_connection(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct control *control = data;
    struct packet_peer peer;
    (void)source;
    (void)events;
    int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (sock < 0) {
        return 0;
    }
    if (packet_peer(sock, &peer) < 0) {
        close(sock);
        return 0;
    }
    const char *why = peer_refused(control, &peer);
    if (why != NULL) {
        client_refuse(sock, &peer, why);
    } else {
        client_new(control, sock, &peer);
    }
    return 0;
}

int
control_new(sd_event *event, const struct settings *settings,
            const struct control_services *services, struct control **ret, char **error_r)
{
    struct control *control = g_new0(struct control, 1);
    control->event = event;
    control->settings = settings;
    control->services = *services;
    control->since = g_get_real_time() / G_USEC_PER_SEC;
    control->clients = g_ptr_array_new_with_free_func(client_free);
    control->sock = packet_listen(settings->control_socket, 0600);
    int rc = control->sock < 0 ? control->sock : 0;
    if (rc == 0) {
        rc = sd_event_add_io(event, &control->source, control->sock, EPOLLIN, on_connection,
                             control);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_ratelimit(control->source, G_USEC_PER_SEC, ACCEPTS_PER_SECOND);
    }
    if (rc < 0) {
        *error_r =
            g_strdup_printf("control_socket = %s: %s", settings->control_socket, g_strerror(-rc));
        control_free(control);
        return rc;
    }
    *ret = control;
    return 0;
}

void
control_free(struct control *control)
{
    if (control == NULL) {
        return;
    }
    g_ptr_array_unref(control->clients);
    sd_event_source_disable_unref(control->source);
    if (control->sock >= 0) {
        (void)unlink(control->settings->control_socket);
        close(control->sock);
    }
    g_free(control);
}

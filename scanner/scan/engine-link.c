/* SPDX-License-Identifier: GPL-2.0-only */
#include "engine-link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"
#include "packet.h"
#include "protocol.h"
#include "text.h"

#define RETRY_MIN_US (100 * G_TIME_SPAN_MILLISECOND)
#define RETRY_MAX_US (5 * G_TIME_SPAN_SECOND)
/* An engine that has taken the connection and does not answer is tried anew. */
#define ANSWER_US (10 * G_TIME_SPAN_SECOND)
/* Packets handled per wake-up, so that a chatty engine does not starve the front-ends. */
#define PACKETS_PER_WAKE 16

/* Of what an engine says when it refuses. */
#define ERROR_MAX 400

/* What the next packet without "event" answers. */
enum phase {
    PHASE_DOWN,
    PHASE_STATUS,
    PHASE_ATTACH,
    PHASE_ATTACHED,
};

struct engine_link {
    sd_event *event;
    const struct engine_link_ops *ops;
    void *data;
    char *path;
    enum phase phase;
    int sock;
    sd_event_source *io;
    sd_event_source *timer; /* down: the next try; connecting: the answer's deadline */
    guint64 retry_us;
    json_t *state;
    char *error; /* why it is not attached; NULL = it is, or nothing was tried yet */
    gboolean complained;
};

static void
timer_set(struct engine_link *link, guint64 in_us)
{
    (void)sd_event_source_set_time_relative(link->timer, in_us);
    (void)sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT);
}

static void
close_link(struct engine_link *link)
{
    link->io = sd_event_source_disable_unref(link->io);
    if (link->sock >= 0) {
        close(link->sock);
        link->sock = -1;
    }
    json_decref(g_steal_pointer(&link->state));
    link->phase = PHASE_DOWN;
}

/* Says once, not at each try, that the engine cannot be had. */
static void
complain(struct engine_link *link, const char *why)
{
    g_free(link->error);
    link->error = text_escape(why, ERROR_MAX);
    if (!link->complained) {
        log_warning("engine: %s: %s; mail gets 451 until it can be scanned", link->path,
                    link->error);
        link->complained = TRUE;
    }
}

static void
drop(struct engine_link *link, const char *why)
{
    gboolean was_attached = link->phase == PHASE_ATTACHED;
    close_link(link);
    complain(link, why);
    timer_set(link, link->retry_us);
    link->retry_us = MIN(link->retry_us * 2, RETRY_MAX_US);
    if (was_attached) {
        link->ops->changed(link->data);
    }
}

static void
state_take(struct engine_link *link, json_t *object)
{
    json_t *state = json_copy(object);
    json_object_del(state, "ok");
    json_object_del(state, "event");
    json_decref(link->state);
    link->state = state;
}

static void
on_event_worker(struct engine_link *link, json_t *object, int fd)
{
    json_t *number = json_object_get(object, "worker");
    if (fd >= 0 && json_is_integer(number)) {
        link->ops->worker(link->data, json_integer_value(number), fd);
    } else if (fd >= 0) {
        close(fd);
    }
}

static void
on_event_gone(struct engine_link *link, json_t *object, int fd)
{
    json_t *number = json_object_get(object, "worker");
    const char *cause = json_string_value(json_object_get(object, "cause"));
    g_autofree char *shown = text_escape(cause, 80);
    (void)fd;
    log_debug("worker %" G_GINT64_FORMAT ": gone (%s)", (gint64)json_integer_value(number), shown);
    if (json_is_integer(number)) {
        link->ops->gone(link->data, json_integer_value(number));
    }
}

static void
on_event_release(struct engine_link *link, json_t *object, int fd)
{
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(gint64));
    size_t i;
    json_t *number;
    (void)fd;
    json_array_foreach(json_object_get(object, "workers"), i, number)
    {
        gint64 n = json_integer_value(number);
        g_array_append_val(numbers, n);
    }
    link->ops->release(link->data, (const gint64 *)(const void *)numbers->data, numbers->len);
}

static void
on_event_state(struct engine_link *link, json_t *object, int fd)
{
    (void)fd;
    state_take(link, object);
    link->ops->changed(link->data);
}

static const struct {
    const char *name;
    void (*handle)(struct engine_link *link, json_t *object, int fd);
} events[] = {
    {"worker", on_event_worker},
    {"gone", on_event_gone},
    {"release", on_event_release},
    {"state", on_event_state},
};

/* An event that is not known is one of a newer engine: left alone. */
static void
handle_event(struct engine_link *link, const char *name, json_t *object, int fd)
{
    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        if (strcmp(events[i].name, name) == 0) {
            events[i].handle(link, object, fd);
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int
send_op(struct engine_link *link, json_t *object)
{
    int rc = packet_send(link->sock, object, -1);
    json_decref(object);
    return rc;
}

/* Only to an engine whose workers will be understood: an attachment starts them all afresh. */
static void
attach(struct engine_link *link, json_t *object)
{
    g_autofree char *mismatch = NULL;
    json_t *request = json_pack("{s:s}", "op", "attach");
    protocol_say(request);
    if (protocol_common(object, "postern-engine", &mismatch) == 0) {
        json_decref(request);
        drop(link, mismatch);
        return;
    }
    int rc = send_op(link, request);
    if (rc < 0) {
        drop(link, strerror(-rc));
        return;
    }
    state_take(link, object);
    link->phase = PHASE_ATTACH;
}

static void
handle_refusal(struct engine_link *link, json_t *object)
{
    const char *said = json_string_value(json_object_get(object, "error"));
    g_autofree char *why = g_strdup_printf("it refuses: %s", said == NULL ? "no reason" : said);
    drop(link, why);
}

static void
handle_answer(struct engine_link *link, json_t *object)
{
    if (!json_is_true(json_object_get(object, "ok"))) {
        handle_refusal(link, object);
    } else if (link->phase == PHASE_STATUS) {
        attach(link, object);
    } else if (link->phase == PHASE_ATTACH) {
        link->phase = PHASE_ATTACHED;
        link->retry_us = RETRY_MIN_US;
        link->complained = FALSE;
        g_clear_pointer(&link->error, g_free);
        (void)sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        log_notice("engine: attached");
        link->ops->changed(link->data);
    }
}

static void
handle_packet(struct engine_link *link, json_t *object, int fd)
{
    const char *event = json_string_value(json_object_get(object, "event"));
    if (event != NULL) {
        handle_event(link, event, object, fd);
        return;
    }
    if (fd >= 0) {
        close(fd);
    }
    handle_answer(link, object);
}

static int
on_io(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    struct engine_link *link = data;
    (void)source;
    (void)revents;
    for (int i = 0; i < PACKETS_PER_WAKE && link->sock == sock; i++) {
        json_t *object = NULL;
        int fd = -1;
        int rc = packet_receive(sock, &object, &fd);
        if (rc == -EAGAIN) {
            break;
        }
        if (rc <= 0) {
            drop(link, rc == 0 ? "it has closed the connection" : strerror(-rc));
            break;
        }
        handle_packet(link, object, fd);
        json_decref(object);
    }
    return 0;
}

static int
open_link(struct engine_link *link)
{
    link->sock = packet_connect(link->path);
    if (link->sock < 0) {
        return link->sock;
    }
    if (fcntl(link->sock, F_SETFL, O_NONBLOCK) < 0) {
        return -errno;
    }
    int rc = sd_event_add_io(link->event, &link->io, link->sock, EPOLLIN, on_io, link);
    if (rc >= 0) {
        rc = send_op(link, json_pack("{s:s}", "op", "status"));
    }
    return rc;
}

static int
on_timer(sd_event_source *source, uint64_t now_us, void *data)
{
    struct engine_link *link = data;
    (void)source;
    (void)now_us;
    if (link->phase != PHASE_DOWN) {
        drop(link, "it does not answer");
        return 0;
    }
    int rc = open_link(link);
    if (rc < 0) {
        drop(link, strerror(-rc));
        return 0;
    }
    link->phase = PHASE_STATUS;
    timer_set(link, ANSWER_US);
    return 0;
}

int
engine_link_new(sd_event *event, const char *dir, const struct engine_link_ops *ops, void *data,
                struct engine_link **ret)
{
    struct engine_link *link = g_new0(struct engine_link, 1);
    link->event = sd_event_ref(event);
    link->ops = ops;
    link->data = data;
    link->path = g_build_filename(dir, "engine.sock", NULL);
    link->sock = -1;
    link->retry_us = RETRY_MIN_US;
    int rc =
        sd_event_add_time_relative(event, &link->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, link);
    if (rc < 0) {
        engine_link_free(link);
        return rc;
    }
    *ret = link;
    return 0;
}

void
engine_link_free(struct engine_link *link)
{
    if (link == NULL) {
        return;
    }
    close_link(link);
    sd_event_source_disable_unref(link->timer);
    sd_event_unref(link->event);
    g_free(link->error);
    g_free(link->path);
    g_free(link);
}

gboolean
engine_link_is_attached(const struct engine_link *link)
{
    return link->phase == PHASE_ATTACHED;
}

gboolean
engine_link_is_ready(const struct engine_link *link)
{
    const char *state = json_string_value(json_object_get(link->state, "state"));
    return link->phase == PHASE_ATTACHED && g_strcmp0(state, "ready") == 0;
}

json_t *
engine_link_state(const struct engine_link *link)
{
    return link->state;
}

const char *
engine_link_error(const struct engine_link *link)
{
    return link->phase == PHASE_ATTACHED ? NULL : link->error;
}

void
engine_link_evidence(struct engine_link *link, int fd)
{
    json_auto_t *object = json_pack("{s:s}", "op", "evidence");
    if (link->phase == PHASE_ATTACHED && packet_send(link->sock, object, fd) < 0) {
        log_warning("engine: cannot be given the message that cost two workers");
    }
}

guint64
engine_link_wants_quiet(const struct engine_link *link)
{
    json_t *adoption = json_object_get(link->state, "adoption");
    json_int_t seconds = json_integer_value(json_object_get(adoption, "quiet"));
    return link->phase == PHASE_ATTACHED && seconds > 0 ? (guint64)seconds : 0;
}

void
engine_link_quiet(struct engine_link *link)
{
    if (link->phase == PHASE_ATTACHED && send_op(link, json_pack("{s:s}", "op", "quiet")) < 0) {
        log_warning("engine: cannot be told of a quiet moment");
    }
}

void
engine_link_kill(struct engine_link *link, gint64 worker)
{
    if (link->phase != PHASE_ATTACHED) {
        return;
    }
    int rc = send_op(link, json_pack("{s:s, s:I}", "op", "kill", "worker", (json_int_t)worker));
    if (rc < 0) {
        log_err("engine: cannot ask for the end of worker %" G_GINT64_FORMAT ": %s", worker,
                strerror(-rc));
        timer_set(link, 0); /* disconnecting ends it as well */
    }
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 131072U
#define OUTPUT_KEPT 4096U

struct stream {
    int fd;
    const struct stream_ops *ops;
    void *data;
    sd_event_source *io;
    sd_event_source *idle;
    sd_event_source *ending; /* so that ended() is called from the event loop */
    guint64 idle_us;
    guint64 active_us; /* when a byte was last received or taken */
    gsize unit_max;
    GByteArray *pending; /* input that is no whole unit yet; NULL = none */
    GByteArray *output;
    struct spool_budget *budget; /* NULL: nothing is counted */
    gsize free_bytes;
    gsize taken; /* from the budget */
    gboolean finishing;
    gboolean has_ended;
    int reason;
};

static void
end(struct stream *stream, int reason)
{
    if (!stream->has_ended) {
        stream->has_ended = TRUE;
        stream->reason = reason;
        (void)sd_event_source_set_enabled(stream->io, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(stream->ending, SD_EVENT_ONESHOT);
    }
}

static int
on_ending(sd_event_source *source, void *data)
{
    struct stream *stream = data;
    (void)source;
    stream->ops->ended(stream->data, stream->reason);
    return 0;
}

static void
watch(struct stream *stream)
{
    uint32_t events = 0;
    if (!stream->finishing && stream->output->len < STREAM_OUTPUT_PAUSE) {
        events |= EPOLLIN;
    }
    if (stream->output->len > 0) {
        events |= EPOLLOUT;
    }
    (void)sd_event_source_set_io_events(stream->io, events);
}

/* An array that grew piece by piece has up to the next power of two. */
static gsize
bytes_of(const GByteArray *array)
{
    return array == NULL || array->len == 0 ? 0 : (gsize)1 << g_bit_storage(array->len - 1);
}

static void
account(struct stream *stream)
{
    gsize held = bytes_of(stream->pending) + bytes_of(stream->output);
    gsize wanted = held > stream->free_bytes ? held - stream->free_bytes : 0;
    if (stream->budget == NULL) {
        return;
    }
    if (wanted < stream->taken) {
        spool_budget_give(stream->budget, stream->taken - wanted);
    } else if (wanted > stream->taken &&
               !spool_budget_take(stream->budget, wanted - stream->taken)) {
        end(stream, -ENOBUFS);
        return;
    }
    stream->taken = wanted;
}

/* One piece per wake-up: a long answer does not keep the others waiting. */
static void
ask_for_more(struct stream *stream)
{
    if (stream->ops->sent != NULL && !stream->has_ended) {
        stream->ops->sent(stream->data, stream->output);
    }
    if (stream->finishing && stream->output->len == 0) {
        end(stream, 0);
    }
}

static void
send_output(struct stream *stream)
{
    gsize sent = 0;
    while (stream->output->len > 0) {
        ssize_t n = send(stream->fd, stream->output->data, stream->output->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN) {
                end(stream, -errno);
            }
            return;
        }
        g_byte_array_remove_range(stream->output, 0, (guint)n);
        sent += (gsize)n;
        stream->active_us = (guint64)g_get_monotonic_time();
    }
    if (sent > OUTPUT_KEPT) {
        g_byte_array_unref(stream->output);
        stream->output = g_byte_array_new();
    }
    ask_for_more(stream);
}

void
stream_flush(struct stream *stream)
{
    if (!stream->has_ended) {
        send_output(stream);
        account(stream);
        watch(stream);
    }
}

/* Hands all input to the protocol and keeps what it leaves. Returns 0 or -errno. */
static int
deliver(struct stream *stream, const char *bytes, gsize len)
{
    if (stream->pending != NULL) {
        g_byte_array_append(stream->pending, (const guint8 *)bytes, (guint)len);
        bytes = (const char *)stream->pending->data;
        len = stream->pending->len;
    }
    gssize used = stream->ops->input(stream->data, bytes, len);
    if (used < 0) {
        return (int)used;
    }
    gsize left = len - (gsize)used;
    if (left > stream->unit_max) {
        return -EMSGSIZE;
    }
    if (stream->pending != NULL && used == 0) {
        return 0;
    }
    /* A new array, of the size that is needed now. */
    GByteArray *old = g_steal_pointer(&stream->pending);
    if (left > 0) {
        stream->pending = g_byte_array_sized_new((guint)left);
        g_byte_array_append(stream->pending, (const guint8 *)bytes + used, (guint)left);
    }
    if (old != NULL) {
        g_byte_array_unref(old);
    }
    return 0;
}

static void
receive_input(struct stream *stream)
{
    /* One for all streams: the loop has one thread, and what is left over is copied. */
    static char bytes[READ_SIZE];
    ssize_t n = recv(stream->fd, bytes, sizeof bytes, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            end(stream, -errno);
        }
        return;
    }
    stream->active_us = (guint64)g_get_monotonic_time();
    int rc = n == 0 ? 0 : deliver(stream, bytes, (gsize)n);
    if (n == 0 || rc < 0) {
        end(stream, rc);
    }
}

static int
on_io(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct stream *stream = data;
    (void)source;
    (void)fd;
    if ((revents & EPOLLOUT) != 0) {
        send_output(stream);
    }
    if ((revents & EPOLLIN) != 0 && !stream->has_ended && !stream->finishing) {
        receive_input(stream);
    } else if ((revents & (EPOLLERR | EPOLLHUP)) != 0) {
        end(stream, -ECONNRESET);
    }
    stream_flush(stream);
    return 0;
}

static int
on_idle(sd_event_source *source, uint64_t now_us, void *data)
{
    struct stream *stream = data;
    guint64 due = stream->active_us + stream->idle_us;
    if (due <= now_us) {
        end(stream, -ETIMEDOUT);
        return 0;
    }
    (void)sd_event_source_set_time(source, due);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int
stream_new(sd_event *event, int fd, guint64 idle_us, gsize unit_max, const struct stream_ops *ops,
           void *data, struct stream **ret)
{
    struct stream *stream = g_new0(struct stream, 1);
    stream->fd = -1;
    stream->ops = ops;
    stream->data = data;
    stream->idle_us = idle_us;
    stream->unit_max = unit_max;
    stream->active_us = (guint64)g_get_monotonic_time();
    stream->output = g_byte_array_new();
    int rc = sd_event_add_io(event, &stream->io, fd, EPOLLIN, on_io, stream);
    if (rc >= 0) {
        rc = sd_event_add_defer(event, &stream->ending, on_ending, stream);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(stream->ending, SD_EVENT_OFF);
    }
    if (rc >= 0) {
        rc = sd_event_add_time(event, &stream->idle, CLOCK_MONOTONIC, stream->active_us + idle_us,
                               idle_us / 10, on_idle, stream);
    }
    if (rc < 0) {
        stream_free(stream);
        return rc;
    }
    stream->fd = fd;
    *ret = stream;
    return 0;
}

void
stream_free(struct stream *stream)
{
    if (stream == NULL) {
        return;
    }
    sd_event_source_disable_unref(stream->io);
    sd_event_source_disable_unref(stream->idle);
    sd_event_source_disable_unref(stream->ending);
    if (stream->fd >= 0) {
        close(stream->fd);
    }
    if (stream->budget != NULL) {
        spool_budget_give(stream->budget, stream->taken);
    }
    if (stream->pending != NULL) {
        g_byte_array_unref(stream->pending);
    }
    g_byte_array_unref(stream->output);
    g_free(stream);
}

void
stream_set_budget(struct stream *stream, struct spool_budget *budget, gsize free_bytes)
{
    if (stream->budget != NULL && stream->budget != budget) {
        spool_budget_give(stream->budget, stream->taken);
        stream->taken = 0;
    }
    stream->budget = budget;
    stream->free_bytes = free_bytes;
    account(stream);
}

GByteArray *
stream_output(struct stream *stream)
{
    return stream->output;
}

gboolean
stream_is_stuck(const struct stream *stream)
{
    return stream->output->len > 0;
}

void
stream_finish(struct stream *stream)
{
    stream->finishing = TRUE;
    stream_flush(stream);
}

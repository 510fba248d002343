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
    gsize taken;             /* from the budget */
    sd_event_source *resume; /* so that held input comes from the event loop */
    gboolean held;
    gboolean finishing;
    gboolean lingering;
    gsize lingered; /* bytes dropped */
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
    gboolean reads = !stream->finishing && !stream->held;
    if ((reads && stream->output->len < STREAM_OUTPUT_PAUSE) || stream->lingering) {
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
    if (stream->lingering && stream->output->len == 0) {
        /* All is said; who has closed already need not hear it. */
        (void)shutdown(stream->fd, SHUT_WR);
    } else if (stream->finishing && stream->output->len == 0) {
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
        if (len > 0) {
            g_byte_array_append(stream->pending, (const guint8 *)bytes, (guint)len);
        }
        bytes = (const char *)stream->pending->data;
        len = stream->pending->len;
    }
    gssize used = stream->ops->input(stream->data, bytes, len);
    if (used < 0) {
        return (int)used;
    }
    gsize left = len - (gsize)used;
    if (left > stream->unit_max && !stream->held) {
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

/* Hands on what came beside the bytes. The kernel ends a read behind each descriptor. */
static int
deliver_descriptor(struct stream *stream, struct msghdr *msg)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    int fd = -1;
    if (cmsg != NULL && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(cmsg), sizeof fd);
    }
    if (fd >= 0 && (msg->msg_flags & MSG_CTRUNC) == 0) {
        return stream->ops->descriptor(stream->data, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    return (msg->msg_flags & MSG_CTRUNC) != 0 ? -EPROTO : 0;
}

/* As recv(), and with a descriptor where one is expected. */
static ssize_t
receive(struct stream *stream, char *bytes, gsize size, int *ret_rc)
{
    /* CMSG_SPACE() would leave room for a second one. */
    union {
        struct cmsghdr header;
        char space[CMSG_LEN(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    *ret_rc = 0;
    if (stream->ops->descriptor == NULL) {
        return recv(stream->fd, bytes, size, 0);
    }
    ssize_t n = recvmsg(stream->fd, &msg, MSG_CMSG_CLOEXEC);
    if (n >= 0) {
        *ret_rc = deliver_descriptor(stream, &msg);
    }
    return n;
}

static void
receive_input(struct stream *stream)
{
    /* One for all streams: the loop has one thread, and what is left over is copied. */
    static char bytes[READ_SIZE];
    int rc;
    ssize_t n = receive(stream, bytes, sizeof bytes, &rc);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            end(stream, -errno);
        }
        return;
    }
    stream->active_us = (guint64)g_get_monotonic_time();
    if (rc == 0 && n > 0) {
        rc = deliver(stream, bytes, (gsize)n);
    }
    if (n == 0 || rc < 0) {
        end(stream, rc);
    }
}

static void
receive_nothing(struct stream *stream)
{
    static char bytes[READ_SIZE];
    ssize_t n = recv(stream->fd, bytes, sizeof bytes, 0);
    if (n > 0) {
        stream->lingered += (gsize)n;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
        stream->lingered > STREAM_LINGER_BYTES) {
        end(stream, 0);
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
    if ((revents & EPOLLIN) != 0 && stream->lingering) {
        receive_nothing(stream);
    } else if ((revents & EPOLLIN) != 0 && !stream->has_ended && !stream->finishing &&
               !stream->held) {
        receive_input(stream);
    } else if ((revents & (EPOLLERR | EPOLLHUP)) != 0) {
        end(stream, -ECONNRESET);
    }
    stream_flush(stream);
    return 0;
}

/* What was left while the stream was held; nothing new has been read since. */
static int
on_resume(sd_event_source *source, void *data)
{
    struct stream *stream = data;
    (void)source;
    if (!stream->held && !stream->finishing && !stream->has_ended && stream->pending != NULL) {
        int rc = deliver(stream, NULL, 0);
        if (rc < 0) {
            end(stream, rc);
        }
    }
    stream_flush(stream);
    return 0;
}

static int
on_idle(sd_event_source *source, uint64_t now_us, void *data)
{
    struct stream *stream = data;
    if (stream->held && stream->output->len == 0 && !stream->finishing) {
        stream->active_us = now_us;
    }
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
        rc = sd_event_add_defer(event, &stream->resume, on_resume, stream);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(stream->resume, SD_EVENT_OFF);
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
    sd_event_source_disable_unref(stream->resume);
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

void
stream_hold(struct stream *stream, gboolean hold)
{
    if (stream->held == hold) {
        return;
    }
    stream->held = hold;
    stream->active_us = (guint64)g_get_monotonic_time();
    if (!hold) {
        (void)sd_event_source_set_enabled(stream->resume, SD_EVENT_ONESHOT);
    }
    watch(stream);
}

void
stream_linger(struct stream *stream)
{
    guint64 now = (guint64)g_get_monotonic_time();
    stream->lingering = TRUE;
    stream->idle_us = STREAM_LINGER_US;
    stream->active_us = now;
    (void)sd_event_source_set_time(stream->idle, now + STREAM_LINGER_US);
    stream_finish(stream);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STREAM_H
#define STREAM_H

/*
 * A connected stream socket in the event loop, for the front-ends: gathers input until the
 * protocol has a whole unit, keeps output that the peer does not take yet, ends idle connections.
 *
 * Memory is bounded whatever the peer does: input up to the protocol's longest unit; while
 * STREAM_OUTPUT_PAUSE bytes of output wait, nothing more is read. An idle stream holds no buffer.
 * What the streams hold together can be bounded too, by a budget.
 */

#include <systemd/sd-event.h>
#include <glib.h>

#include "spool.h"

#define STREAM_OUTPUT_PAUSE 65536U

struct stream;

struct stream_ops {
    /*
     * New input; BYTES begins where the last call left off. Returns how many bytes were used up
     * (the rest comes again, with more behind it), or -errno: the stream is then ended.
     */
    gssize (*input)(void *data, const char *bytes, gsize len);
    /*
     * All output is sent: more of a long answer may be appended now, in pieces of about
     * STREAM_OUTPUT_PAUSE, so that it is never held whole. Called from the event loop or
     * from within stream_flush(). NULL: there are no long answers.
     */
    void (*sent)(void *data, GByteArray *output);
    /*
     * The stream has ended: 0 (the peer has closed, or stream_finish() is done), -ETIMEDOUT
     * (idle), -ENOBUFS (the budget), what input() returned, or another -errno. Called at most once,
     * from the event loop, never from within a function of this file; the owner frees the stream in
     * it.
     */
    void (*ended)(void *data, int reason);
    /*
     * Optional, for unix sockets: FD (the callee's now, close-on-exec) came with the last of the
     * bytes that input() gets next. Returns 0, or -errno: the stream is then ended. Without it
     * the kernel discards what is sent.
     */
    int (*descriptor)(void *data, int fd);
};

/*
 * Takes over FD (non-blocking). IDLE_US: longest time in which no byte is received or taken.
 * UNIT_MAX: longest unit that input() may wait for. Returns 0 or -errno (FD is then still open).
 */
int stream_new(sd_event *event, int fd, guint64 idle_us, gsize unit_max,
               const struct stream_ops *ops, void *data, struct stream **ret);
/* Closes at once, without a call of ended(). NULL is fine. */
void stream_free(struct stream *stream);

/*
 * What STREAM holds beyond FREE bytes is from now on taken from BUDGET (which outlives it), and
 * where that is short the stream ends. NULL: nothing is counted, as at the start.
 */
void stream_set_budget(struct stream *stream, struct spool_budget *budget, gsize free_bytes);

/* The output buffer: append to it, then call stream_flush(). */
GByteArray *stream_output(struct stream *stream);
/* Sends what the peer takes now, the rest when it is ready. */
void stream_flush(struct stream *stream);
/* Output is waiting for the peer. */
gboolean stream_is_stuck(const struct stream *stream);

/*
 * HOLD: nothing more is read, input() is not called, and the peer is idle only while output waits
 * for him. Until it is let go again input() may leave any rest; that comes again from the event
 * loop, never from within this call.
 */
void stream_hold(struct stream *stream, gboolean hold);

/* Ends the stream as soon as all output is sent; nothing is read any more. */
void stream_finish(struct stream *stream);
/*
 * The same for a peer who is still sending: what he sends is read and dropped, up to
 * STREAM_LINGER_BYTES and STREAM_LINGER_US, or a reset would take the last answer from him.
 */
#define STREAM_LINGER_BYTES (64U * 1024U * 1024U)
#define STREAM_LINGER_US (5U * 1000000U)
void stream_linger(struct stream *stream);

#endif

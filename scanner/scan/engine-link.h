/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

/*
 * The connection to postern-engine (docs/ARCHITECTURE.md, "posternd -> engine"): attaches to it,
 * comes back by itself when it is lost, and hands on what the engine says.
 */

#include <systemd/sd-event.h>
#include <glib.h>
#include <jansson.h>

struct engine_link;

/* Called from the event loop, never from within a function of this file. */
struct engine_link_ops {
    /* A worker that is ready; FD is its channel and belongs to the callee. */
    void (*worker)(void *data, gint64 number, int fd);
    void (*gone)(void *data, gint64 number);
    /* One of these workers, which are of signatures of before, is to be let go when it is idle. */
    void (*release)(void *data, const gint64 *numbers, gsize count);
    /* The engine's state has changed, or the connection has come or gone. */
    void (*changed)(void *data);
};

/*
 * Connects to DIR/engine.sock: at once and then, while it fails, after 0.1 s and up to 5 s.
 * OPS and DATA outlive the link. Returns 0 or -errno (event loop).
 */
int engine_link_new(sd_event *event, const char *dir, const struct engine_link_ops *ops, void *data,
                    struct engine_link **ret);
/* Disconnects: the engine then kills the workers. NULL is fine. */
void engine_link_free(struct engine_link *link);

gboolean engine_link_is_attached(const struct engine_link *link);
/* Attached, and the engine's state is "ready". */
gboolean engine_link_is_ready(const struct engine_link *link);
/* The engine's state as it says it (borrowed), NULL when it is not attached. */
json_t *engine_link_state(const struct engine_link *link);

/* Why it is not attached, half a sentence, escaped; NULL = it is, or is not tried yet. Borrowed. */
const char *engine_link_error(const struct engine_link *link);

/* Asks for the worker's end. */
void engine_link_kill(struct engine_link *link, gint64 worker);

/* A mail (sealed memory) that has cost two workers: the engine may look whether the signatures are
 * to blame. */
void engine_link_evidence(struct engine_link *link, int fd);

/* Seconds without a scan after which the engine wants to hear of it; 0: it does not. */
guint64 engine_link_wants_quiet(const struct engine_link *link);
void engine_link_quiet(struct engine_link *link);

#endif

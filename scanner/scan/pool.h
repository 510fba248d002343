/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POOL_H
#define POOL_H

/*
 * The workers that postern-engine hands to posternd, and the queue before them. One scan per
 * worker at a time. A scan whose worker dies or overruns its deadline is tried once more on a
 * fresh worker; then it ends as an error. The pool reconnects to the engine by itself.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "facts.h"
#include "settings.h"

struct pool;
struct scan;

/*
 * The end of a scan. FACTS (borrowed for the call) is NULL when there are none: then ERROR is one
 * short reason ("no worker is ready", "two workers died"), and *lost* says that the message took
 * workers down with it rather than that nobody could look at it.
 */
struct scan_outcome {
    const struct facts *facts;
    const char *error;
    bool lost;
    gint64 worker; /* who said so, for pool_scan_by_another(); -1 = nobody */
};
typedef void scan_done(void *data, const struct scan_outcome *outcome);

/* Returns 0 and a pool that connects in the background, or -errno. */
int pool_new(sd_event *event, const struct settings *settings, struct pool **ret_pool);
/* Disconnects. All scans have ended or were cancelled before. NULL is fine. */
void pool_free(struct pool *pool);

/*
 * Scans the sealed memfd FD (borrowed; must stay open until the end). DONE is called exactly once,
 * from the event loop and never from within this call, unless the scan is cancelled before.
 * With no ready worker it waits in the queue until the scan's deadline (2 x scan_timeout in all);
 * while the engine is not ready at all it ends at once with an error: the sender hears 451.
 */
struct scan *pool_scan(struct pool *pool, int fd, scan_done *done, void *data);
/*
 * The same, by any worker but the one of that number: a second opinion. Where there is no other,
 * that one is ended and its successor asked.
 */
struct scan *pool_scan_by_another(struct pool *pool, int fd, gint64 worker, scan_done *done,
                                  void *data);
/* Ends a scan without a call of DONE. A worker that was busy with it is killed. NULL is fine. */
void scan_cancel(struct scan *scan);

/*
 * Whether the engine may be told that nothing is scanned, after which it may stop for as long as
 * new signatures load. Not in a cluster: there another node scans meanwhile. True at first.
 */
void pool_tell_quiet(struct pool *pool, bool may);

/* Seconds since the newest of the signatures in use was made, 0 also when that is in the future.
 * POOL_AGE_UNKNOWN: nobody knows, or there are none but the test signature. */
#define POOL_AGE_UNKNOWN G_MAXUINT64
guint64 pool_signatures_age(const struct pool *pool);

/* Scans that wait for a worker. */
unsigned pool_queued(const struct pool *pool);

/*
 * CHANGED is called from the event loop when the engine's state has changed, or when the engine
 * has come or gone. One can watch.
 */
typedef void pool_changed(void *data);
void pool_watch(struct pool *pool, pool_changed *changed, void *data);
/* The engine's state as it says it (borrowed); NULL while there is no engine. */
json_t *pool_engine(const struct pool *pool);

/* A verdict can be given now. */
bool pool_ready(const struct pool *pool);
/* {"engine": {...as the engine says, or null}, "workers": n, "idle": n, "queued": n, ...} */
json_t *pool_status(const struct pool *pool);

#endif

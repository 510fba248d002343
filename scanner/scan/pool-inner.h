/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POOL_INNER_H
#define POOL_INNER_H

/* For pool.c and pool-scan.c alone. */

#include <glib.h>

#include "caches.h"
#include "digest.h"
#include "engine-link.h"
#include "pool.h"

/* Once on the first worker, once more on a fresh one. */
#define ATTEMPTS_MAX 2

#define POOL_NOT_READY "the scan engine is not ready"

struct pool {
    sd_event *event;
    struct engine_link *link;
    guint64 timeout_us;
    GHashTable *workers; /* gint64 number -> struct worker *, owned */
    GQueue idle;         /* of struct worker *, the last used first: its memory is warm */
    GQueue queue;        /* of struct scan *, waiting */
    gint64 last_id;
    guint64 scans;
    guint64 lost;
    GArray *released; /* of gint64: workers of before, of which some are to be let go */
    unsigned releases;
    sd_event_source *quiet; /* runs while the engine wants to hear of a quiet moment */
    guint64 quiet_scans;    /* when it was set */
    bool tell_quiet;
    pool_changed *changed; /* NULL: nobody watches */
    void *changed_data;
    struct digester *digester;
    struct caches caches;
};

struct worker {
    struct pool *pool;
    gint64 number;
    int sock;
    sd_event_source *io;
    struct scan *scan; /* NULL = idle */
    gint64 id;         /* of the scan that it was given */
    struct voice voice;
};

struct scan {
    struct pool *pool;
    int fd;
    scan_done *done;
    void *data;
    struct worker *worker; /* NULL = in the queue */
    gint64 by;             /* the last worker that had it; -1 = none yet */
    gint64 avoid;          /* the one that must not have it; -1 = any may */
    sd_event_source *timer;
    guint64 deadline_us; /* of the whole, queue and retry included */
    unsigned attempts;   /* workers lost so far */
    const char *trouble; /* known before a worker had it; said from the event loop */
    struct digest *digest;
    bool has_key;
    guint8 key[LRU_KEY]; /* SHA-256 of the message */
    struct facts *known; /* from the cache; said from the event loop */
};

void scan_free(struct scan *scan);
/* SCAN is in no queue and at no worker any more. */
void scan_finish(struct scan *scan, const struct facts *facts, const char *error);
/* Ends it by its timer: the callback never comes from within pool_scan(). */
void scan_finish_soon(struct scan *scan);
void scan_fail_soon(struct scan *scan, const char *trouble);

/* Its channel is closed and its number forgotten; whatever comes of it later is nobody's. */
void worker_free(void *p);
/* Takes it out of the pool; what it scanned (NULL: nothing) is nobody's then. */
struct scan *worker_remove(struct worker *worker);
/* A worker that died, hangs or lies: it is ended, and its scan tried once more. */
void worker_lose(struct worker *worker, const char *why);
/* IS_GONE: nothing will come any more that is not in the channel already. */
void worker_read(struct worker *worker, bool is_gone);
int worker_on_io(sd_event_source *source, int fd, uint32_t revents, void *data);
/* Of signatures of before, and to go as soon as it has nothing to do. */
bool worker_is_to_go(const struct pool *pool, const struct worker *worker);
/* It ends by its channel. */
void worker_let_go(struct worker *worker);

/* Gives what waits to who is idle. */
void pool_dispatch(struct pool *pool);

#endif

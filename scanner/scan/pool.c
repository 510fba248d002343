/* SPDX-License-Identifier: GPL-2.0-only */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "answer.h"
#include "caches.h"
#include "digest.h"
#include "engine-link.h"
#include "log.h"
#include "packet.h"

/* Once on the first worker, once more on a fresh one. */
#define ATTEMPTS_MAX 2

static const char error_not_ready[] = "the scan engine is not ready";
static const char error_engine_lost[] = "the scan engine has gone";
static const char error_no_worker[] = "no worker became free in time";
static const char error_no_time[] = "the scan took too long";
static const char error_no_descriptor[] = "the message could not be handed to a worker";
static const char error_lost[] = "two workers were lost over it";

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

static void dispatch(struct pool *pool);

static void
scan_free(struct scan *scan)
{
    sd_event_source_disable_unref(scan->timer);
    digest_cancel(scan->digest);
    facts_free(scan->known);
    g_free(scan);
}

/* SCAN is in no queue and at no worker any more. */
static void
scan_finish(struct scan *scan, const struct facts *facts, const char *error)
{
    struct scan_outcome outcome = {.facts = facts,
                                   .error = error,
                                   .lost = facts == NULL && scan->attempts >= ATTEMPTS_MAX,
                                   .worker = scan->by};
    scan_done *done = scan->done;
    void *data = scan->data;
    g_autoptr(facts_t) known = g_steal_pointer(&scan->known);
    scan_free(scan);
    done(data, &outcome);
}

/* Ends it by its timer: the callback never comes from within pool_scan(). */
static void
scan_finish_soon(struct scan *scan)
{
    (void)sd_event_source_set_time(scan->timer, (guint64)g_get_monotonic_time());
    (void)sd_event_source_set_enabled(scan->timer, SD_EVENT_ONESHOT);
}

static void
scan_fail_soon(struct scan *scan, const char *trouble)
{
    scan->trouble = trouble;
    scan_finish_soon(scan);
}

/* Its channel is closed and its number forgotten; whatever comes of it later is nobody's. */
static void
worker_free(void *p)
{
    struct worker *worker = p;
    sd_event_source_disable_unref(worker->io);
    close(worker->sock);
    g_free(worker->voice.era);
    g_free(worker);
}

static struct scan *
worker_remove(struct worker *worker)
{
    struct pool *pool = worker->pool;
    struct scan *scan = worker->scan;
    g_queue_remove(&pool->idle, worker);
    g_hash_table_remove(pool->workers, &worker->number);
    if (scan != NULL) {
        scan->worker = NULL;
    }
    return scan;
}

static void
scan_retry(struct scan *scan)
{
    struct pool *pool = scan->pool;
    guint64 now = (guint64)g_get_monotonic_time();
    scan->attempts++;
    if (scan->attempts >= ATTEMPTS_MAX) {
        scan_finish(scan, NULL, error_lost);
    } else if (now >= scan->deadline_us) {
        scan_finish(scan, NULL, error_no_time);
    } else if (!pool_ready(pool)) {
        scan_finish(scan, NULL, error_not_ready);
    } else {
        (void)sd_event_source_set_time(scan->timer, scan->deadline_us);
        (void)sd_event_source_set_enabled(scan->timer, SD_EVENT_ONESHOT);
        g_queue_push_head(&pool->queue, scan);
    }
}

/* A worker that died, hangs or lies: it is ended, and its scan tried once more. */
static void
worker_lose(struct worker *worker, const char *why)
{
    struct pool *pool = worker->pool;
    gint64 number = worker->number;
    engine_link_kill(pool->link, number);
    caches_distrust(&pool->caches, worker->number);
    struct scan *scan = worker_remove(worker);
    if (scan != NULL) {
        log_warning("worker %" G_GINT64_FORMAT ": lost in the middle of a scan: %s", number, why);
        pool->lost++;
        scan_retry(scan);
    } else {
        log_debug("worker %" G_GINT64_FORMAT ": lost: %s", number, why);
    }
    dispatch(pool);
}

static void
worker_answered(struct worker *worker, json_t *answer, bool is_gone)
{
    struct pool *pool = worker->pool;
    struct answer said = {0};
    if (worker->scan == NULL || !answer_decode(answer, worker->id, &said)) {
        worker_lose(worker, "its answer is not one");
        return;
    }
    g_autoptr(facts_t) facts = said.facts;
    struct scan *scan = g_steal_pointer(&worker->scan);
    scan->worker = NULL;
    if (is_gone && !said.retire) {
        caches_distrust(&pool->caches, worker->number);
    } else {
        caches_remember(&pool->caches, &worker->voice, scan->has_key ? scan->key : NULL, facts,
                        said.parts);
    }
    if (said.retire || is_gone) {
        (void)worker_remove(worker);
    } else {
        g_queue_push_head(&pool->idle, worker);
    }
    dispatch(pool);
    scan_finish(scan, facts, NULL);
}

/* In the middle of a scan it asks whether a part is known; it waits for the answer. */
static void
worker_asked(struct worker *worker, json_t *question)
{
    struct pool *pool = worker->pool;
    json_auto_t *answer =
        worker->scan != NULL ? caches_answer(&pool->caches, &worker->voice, question) : NULL;
    int rc = answer == NULL ? -EPROTO : packet_send(worker->sock, answer, -1);
    if (rc < 0) {
        worker_lose(worker, "its question is not one, or it does not take the answer");
    }
}

/* IS_GONE: nothing will come any more that is not in the channel already. */
static void
worker_read(struct worker *worker, bool is_gone)
{
    json_t *answer = NULL;
    int rc = packet_receive(worker->sock, &answer, NULL);
    if (rc == 1) {
        if (!is_gone && g_strcmp0(json_string_value(json_object_get(answer, "op")), "known") == 0) {
            worker_asked(worker, answer);
        } else {
            worker_answered(worker, answer, is_gone);
        }
        json_decref(answer);
    } else if (rc == 0 || is_gone) {
        worker_lose(worker, "it has ended");
    } else if (rc != -EAGAIN) {
        worker_lose(worker, strerror(-rc));
    }
}

static int
on_worker_io(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    (void)source;
    (void)fd;
    (void)revents;
    worker_read(data, false);
    return 0;
}

/*
 * Another open file of the same memory: a worker must not share the offset with whoever reads
 * the message later, nor be able to write.
 */
static int
reopen(int fd)
{
    char path[64];
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

/* Returns 0, or -errno when the worker does not take it. */
static int
worker_give(struct worker *worker, struct scan *scan, int fd)
{
    worker->id = ++worker->pool->last_id;
    json_t *request = json_pack("{s:s, s:I, s:b}", "op", "scan", "id", (json_int_t)worker->id,
                                "ask", part_cache_is_on(worker->pool->caches.parts));
    int rc = packet_send(worker->sock, request, fd);
    json_decref(request);
    if (rc == 0) {
        guint64 end_us = (guint64)g_get_monotonic_time() + worker->pool->timeout_us;
        (void)sd_event_source_set_time(scan->timer, MIN(end_us, scan->deadline_us));
        part_talk_begin(&worker->voice.talk);
        worker->scan = scan;
        scan->worker = worker;
        scan->by = worker->number;
        worker->pool->scans++;
    }
    return rc;
}

/* The first scan that some idle worker may have, and the last such worker; taken out. */
static bool
match(struct pool *pool, struct scan **ret_scan, struct worker **ret_worker)
{
    for (GList *s = pool->queue.head; s != NULL; s = s->next) {
        for (GList *w = pool->idle.head; w != NULL; w = w->next) {
            *ret_scan = s->data;
            *ret_worker = w->data;
            if ((*ret_worker)->number != (*ret_scan)->avoid) {
                g_queue_delete_link(&pool->queue, s);
                g_queue_delete_link(&pool->idle, w);
                return true;
            }
        }
    }
    return false;
}

/* Gives a scan to a worker. A worker that does not take it is lost, but that is not
 * the message's doing: nothing is counted against it. */
static void
dispatch_one(struct pool *pool, struct scan *scan, struct worker *worker)
{
    int fd = reopen(scan->fd);
    if (fd < 0) {
        log_err("pool: %s: %s", error_no_descriptor, strerror(-fd));
        g_queue_push_head(&pool->idle, worker);
        scan_fail_soon(scan, error_no_descriptor);
        return;
    }
    int rc = worker_give(worker, scan, fd);
    close(fd);
    if (rc < 0) {
        g_queue_push_head(&pool->queue, scan);
        worker_lose(worker, strerror(-rc));
    }
}

/* Where only the one is there that may not have what waits, a successor is asked for. */
static void
make_room(struct pool *pool)
{
    struct worker *worker = g_queue_peek_head(&pool->idle);
    if (worker != NULL && !g_queue_is_empty(&pool->queue) &&
        g_hash_table_size(pool->workers) == 1) {
        engine_link_kill(pool->link, worker->number);
        (void)worker_remove(worker);
    }
}

static void
dispatch(struct pool *pool)
{
    struct scan *scan;
    struct worker *worker;
    while (match(pool, &scan, &worker)) {
        dispatch_one(pool, scan, worker);
    }
    make_room(pool);
}

static int
on_scan_time(sd_event_source *source, uint64_t now_us, void *data)
{
    struct scan *scan = data;
    (void)source;
    (void)now_us;
    if (scan->worker != NULL) {
        worker_lose(scan->worker, "no answer in time");
        return 0;
    }
    g_queue_remove(&scan->pool->queue, scan);
    const char *error = scan->trouble != NULL ? scan->trouble : error_no_worker;
    scan_finish(scan, scan->known, scan->known != NULL ? NULL : error);
    return 0;
}

static void
on_link_worker(void *data, gint64 number, int fd)
{
    struct pool *pool = data;
    struct worker *worker = g_new0(struct worker, 1);
    worker->pool = pool;
    worker->number = number;
    worker->sock = fd;
    worker->voice = (struct voice){.worker = number, .era = g_strdup(pool->caches.era)};
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || g_hash_table_contains(pool->workers, &number) ||
        sd_event_add_io(pool->event, &worker->io, fd, EPOLLIN, on_worker_io, worker) < 0) {
        log_err("worker %" G_GINT64_FORMAT ": cannot be used", number);
        worker_free(worker);
        return;
    }
    g_hash_table_insert(pool->workers, &worker->number, worker);
    g_queue_push_head(&pool->idle, worker);
    dispatch(pool);
}

/* It may have answered before it ended: the answer is still in the channel. */
static void
on_link_gone(void *data, gint64 number)
{
    struct pool *pool = data;
    struct worker *worker = g_hash_table_lookup(pool->workers, &number);
    if (worker == NULL) {
        return;
    }
    if (worker->scan != NULL) {
        worker_read(worker, true);
    } else {
        caches_distrust(&pool->caches, worker->number);
        (void)worker_remove(worker);
    }
}

/* The engine has gone and its workers with it; nothing of that is a message's doing. */
static void
drop_workers(struct pool *pool)
{
    GHashTableIter iter;
    void *worker;
    g_hash_table_iter_init(&iter, pool->workers);
    while (g_hash_table_iter_next(&iter, NULL, &worker)) {
        struct scan *scan = ((struct worker *)worker)->scan;
        if (scan != NULL) {
            scan->worker = NULL;
            g_queue_push_tail(&pool->queue, scan);
        }
        g_hash_table_iter_remove(&iter);
    }
    g_queue_clear(&pool->idle);
}

/* The queue cannot grow meanwhile: the pool is not ready. */
static void
finish_queue(struct pool *pool, const char *error)
{
    for (struct scan *scan; (scan = g_queue_pop_head(&pool->queue)) != NULL;) {
        scan_finish(scan, NULL, error);
    }
}

static void
on_link_changed(void *data)
{
    struct pool *pool = data;
    bool is_attached = engine_link_is_attached(pool->link);
    caches_engine_changed(&pool->caches, is_attached ? engine_link_state(pool->link) : NULL);
    if (!is_attached) {
        drop_workers(pool);
        finish_queue(pool, error_engine_lost);
    } else if (!pool_ready(pool)) {
        finish_queue(pool, error_not_ready);
    }
    if (pool->changed != NULL) {
        pool->changed(pool->changed_data);
    }
}

static const struct engine_link_ops link_ops = {
    .worker = on_link_worker,
    .gone = on_link_gone,
    .changed = on_link_changed,
};

int
pool_new(sd_event *event, const struct settings *settings, struct pool **ret_pool)
{
    struct pool *pool = g_new0(struct pool, 1);
    pool->event = sd_event_ref(event);
    pool->timeout_us = settings->scan_timeout * G_USEC_PER_SEC;
    pool->workers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, worker_free);
    g_queue_init(&pool->idle);
    g_queue_init(&pool->queue);
    caches_init(&pool->caches, settings);
    int rc = digester_new(event, &pool->digester);
    if (rc >= 0) {
        rc = engine_link_new(event, settings->engine_dir, &link_ops, pool, &pool->link);
    }
    if (rc < 0) {
        pool_free(pool);
        return rc;
    }
    *ret_pool = pool;
    return 0;
}

void
pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    engine_link_free(pool->link);
    g_queue_clear(&pool->idle);
    g_queue_clear(&pool->queue);
    g_hash_table_unref(pool->workers);
    digester_free(pool->digester);
    caches_clear(&pool->caches);
    sd_event_unref(pool->event);
    g_free(pool);
}

static void
enqueue(struct scan *scan)
{
    struct pool *pool = scan->pool;
    if (pool_ready(pool)) {
        g_queue_push_tail(&pool->queue, scan);
        dispatch(pool);
    } else {
        scan_fail_soon(scan, error_not_ready);
    }
}

/* KEY is NULL when the message could not be read: whoever scans it will say why. */
static void
on_digest(void *data, const guint8 *key)
{
    struct scan *scan = data;
    struct pool *pool = scan->pool;
    scan->digest = NULL;
    if (key != NULL) {
        memcpy(scan->key, key, LRU_KEY);
        scan->has_key = true;
        scan->known =
            verdict_cache_get(pool->caches.verdicts, key, g_get_monotonic_time(), &scan->by);
    }
    if (scan->known != NULL) {
        scan_finish_soon(scan);
    } else {
        enqueue(scan);
    }
}

struct scan *
pool_scan(struct pool *pool, int fd, scan_done *done, void *data)
{
    return pool_scan_by_another(pool, fd, -1, done, data);
}

struct scan *
pool_scan_by_another(struct pool *pool, int fd, gint64 avoid, scan_done *done, void *data)
{
    struct scan *scan = g_new0(struct scan, 1);
    guint64 now = (guint64)g_get_monotonic_time();
    scan->pool = pool;
    scan->fd = fd;
    scan->done = done;
    scan->data = data;
    scan->by = -1;
    scan->avoid = avoid;
    scan->deadline_us = now + ATTEMPTS_MAX * pool->timeout_us;
    int rc = sd_event_add_time(pool->event, &scan->timer, CLOCK_MONOTONIC, scan->deadline_us, 1000,
                               on_scan_time, scan);
    g_assert(rc >= 0);
    /* What is scanned a second time is scanned. */
    if (pool_ready(pool) && avoid < 0 && verdict_cache_is_on(pool->caches.verdicts)) {
        scan->digest = digest_start(pool->digester, fd, on_digest, scan);
    } else {
        enqueue(scan);
    }
    return scan;
}

void
scan_cancel(struct scan *scan)
{
    if (scan == NULL) {
        return;
    }
    struct pool *pool = scan->pool;
    if (scan->worker != NULL) {
        engine_link_kill(pool->link, scan->worker->number);
        (void)worker_remove(scan->worker);
    }
    g_queue_remove(&pool->queue, scan);
    scan_free(scan);
}

void
pool_watch(struct pool *pool, pool_changed *changed, void *data)
{
    pool->changed = changed;
    pool->changed_data = data;
}

json_t *
pool_engine(const struct pool *pool)
{
    return engine_link_state(pool->link);
}

bool
pool_ready(const struct pool *pool)
{
    return engine_link_is_ready(pool->link) ||
           (engine_link_is_attached(pool->link) && g_hash_table_size(pool->workers) > 0);
}

unsigned
pool_queued(const struct pool *pool)
{
    return pool->queue.length;
}

json_t *
pool_status(const struct pool *pool)
{
    json_t *engine = engine_link_state(pool->link);
    return json_pack("{s:O?, s:s?, s:b, s:i, s:i, s:i, s:I, s:I, s:o, s:o}", "engine", engine,
                     "engine_error", engine_link_error(pool->link), "ready", pool_ready(pool),
                     "workers", (int)g_hash_table_size(pool->workers), "idle",
                     (int)pool->idle.length, "queued", (int)pool->queue.length, "scans",
                     (json_int_t)pool->scans, "lost", (json_int_t)pool->lost, "verdict_cache",
                     verdict_cache_status(pool->caches.verdicts), "part_cache",
                     part_cache_status(pool->caches.parts));
}

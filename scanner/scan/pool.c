/* SPDX-License-Identifier: GPL-2.0-only */
#include "pool-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"

static const char error_engine_lost[] = "the scan engine has gone";
static const char error_no_worker[] = "no worker became free in time";

static void watch_quiet(struct pool *pool);

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
        sd_event_add_io(pool->event, &worker->io, fd, EPOLLIN, worker_on_io, worker) < 0) {
        log_err("worker %" G_GINT64_FORMAT ": cannot be used", number);
        worker_free(worker);
        return;
    }
    g_hash_table_insert(pool->workers, &worker->number, worker);
    g_queue_push_head(&pool->idle, worker);
    pool_dispatch(pool);
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

/* Those that are idle at once, others with the end of their scan. */
static void
on_link_release(void *data, const gint64 *numbers, gsize count)
{
    struct pool *pool = data;
    g_array_set_size(pool->released, 0);
    g_array_append_vals(pool->released, numbers, (guint)count);
    pool->releases++;
    for (GList *w = pool->idle.head; w != NULL; w = w->next) {
        if (worker_is_to_go(pool, w->data)) {
            worker_let_go(w->data);
            return;
        }
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
    pool->releases = 0;
}

/* The queue cannot grow meanwhile: the pool is not ready. */
static void
finish_queue(struct pool *pool, const char *error)
{
    for (struct scan *scan; (scan = g_queue_pop_head(&pool->queue)) != NULL;) {
        scan_finish(scan, NULL, error);
    }
}

static bool
is_idle(const struct pool *pool)
{
    return pool->queue.length == 0 && pool->idle.length == g_hash_table_size(pool->workers);
}

/* As long as the engine wants to know. */
static int
on_quiet_time(sd_event_source *source, uint64_t now_us, void *data)
{
    struct pool *pool = data;
    guint64 seconds = engine_link_wants_quiet(pool->link);
    (void)source;
    (void)now_us;
    pool->quiet = sd_event_source_disable_unref(pool->quiet);
    if (seconds > 0 && pool->quiet_scans == pool->scans && is_idle(pool)) {
        engine_link_quiet(pool->link);
        return 0;
    }
    watch_quiet(pool);
    return 0;
}

static void
watch_quiet(struct pool *pool)
{
    guint64 seconds = pool->tell_quiet ? engine_link_wants_quiet(pool->link) : 0;
    if (seconds == 0) {
        pool->quiet = sd_event_source_disable_unref(pool->quiet);
    } else if (pool->quiet == NULL) {
        pool->quiet_scans = pool->scans;
        (void)sd_event_add_time_relative(pool->event, &pool->quiet, CLOCK_MONOTONIC,
                                         seconds * G_USEC_PER_SEC, 1, on_quiet_time, pool);
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
        finish_queue(pool, POOL_NOT_READY);
    }
    watch_quiet(pool);
    if (pool->changed != NULL) {
        pool->changed(pool->changed_data);
    }
}

static const struct engine_link_ops link_ops = {
    .worker = on_link_worker,
    .gone = on_link_gone,
    .release = on_link_release,
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
    pool->released = g_array_new(FALSE, FALSE, sizeof(gint64));
    pool->tell_quiet = true;
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
    sd_event_source_disable_unref(pool->quiet);
    g_array_unref(pool->released);
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
        pool_dispatch(pool);
    } else {
        scan_fail_soon(scan, POOL_NOT_READY);
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

void
pool_tell_quiet(struct pool *pool, bool may)
{
    pool->tell_quiet = may;
    watch_quiet(pool);
}

guint64
pool_signatures_age(const struct pool *pool)
{
    const json_t *state = engine_link_state(pool->link);
    gint64 newest = json_integer_value(json_object_get(state, "newest"));
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    if (newest <= 0 || json_is_true(json_object_get(state, "test_only"))) {
        return POOL_AGE_UNKNOWN;
    }
    return now > newest ? (guint64)(now - newest) : 0;
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

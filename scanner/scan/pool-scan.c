/* SPDX-License-Identifier: GPL-2.0-only */
/* Scans, and the workers that do them. */
#include "pool-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "log.h"
#include "packet.h"

static const char error_no_time[] = "the scan took too long";
static const char error_no_descriptor[] = "the message could not be handed to a worker";
static const char error_lost[] = "two workers were lost over it";

void
scan_free(struct scan *scan)
{
    sd_event_source_disable_unref(scan->timer);
    digest_cancel(scan->digest);
    facts_free(scan->known);
    g_free(scan);
}

/* SCAN is in no queue and at no worker any more. */
void
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
void
scan_finish_soon(struct scan *scan)
{
    (void)sd_event_source_set_time(scan->timer, (guint64)g_get_monotonic_time());
    (void)sd_event_source_set_enabled(scan->timer, SD_EVENT_ONESHOT);
}

void
scan_fail_soon(struct scan *scan, const char *trouble)
{
    scan->trouble = trouble;
    scan_finish_soon(scan);
}

/* Its channel is closed and its number forgotten; whatever comes of it later is nobody's. */
void
worker_free(void *p)
{
    struct worker *worker = p;
    sd_event_source_disable_unref(worker->io);
    close(worker->sock);
    g_free(worker->voice.era);
    g_free(worker);
}

/* Of signatures of before, and to go as soon as it has nothing to do. */
bool
worker_is_to_go(const struct pool *pool, const struct worker *worker)
{
    for (guint i = 0; pool->releases > 0 && i < pool->released->len; i++) {
        if (g_array_index(pool->released, gint64, i) == worker->number) {
            return true;
        }
    }
    return false;
}

struct scan *
worker_remove(struct worker *worker)
{
    struct pool *pool = worker->pool;
    struct scan *scan = worker->scan;
    if (worker_is_to_go(pool, worker)) {
        pool->releases--;
    }
    g_queue_remove(&pool->idle, worker);
    g_hash_table_remove(pool->workers, &worker->number);
    if (scan != NULL) {
        scan->worker = NULL;
    }
    return scan;
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

/* Two workers are lost over it: it may be the signatures. */
static void
give_evidence(const struct scan *scan)
{
    int fd = reopen(scan->fd);
    if (fd >= 0) {
        engine_link_evidence(scan->pool->link, fd);
        close(fd);
    }
}

static void
scan_retry(struct scan *scan)
{
    struct pool *pool = scan->pool;
    guint64 now = (guint64)g_get_monotonic_time();
    scan->attempts++;
    if (scan->attempts >= ATTEMPTS_MAX) {
        give_evidence(scan);
        scan_finish(scan, NULL, error_lost);
    } else if (now >= scan->deadline_us) {
        scan_finish(scan, NULL, error_no_time);
    } else if (!pool_ready(pool)) {
        scan_finish(scan, NULL, POOL_NOT_READY);
    } else {
        (void)sd_event_source_set_time(scan->timer, scan->deadline_us);
        (void)sd_event_source_set_enabled(scan->timer, SD_EVENT_ONESHOT);
        g_queue_push_head(&pool->queue, scan);
    }
}

/* It ends by its channel. */
void
worker_let_go(struct worker *worker)
{
    log_debug("worker %" G_GINT64_FORMAT ": let go", worker->number);
    (void)worker_remove(worker);
}

/* A worker that died, hangs or lies: it is ended, and its scan tried once more. */
void
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
    pool_dispatch(pool);
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
    } else if (worker_is_to_go(pool, worker)) {
        worker_let_go(worker);
    } else {
        g_queue_push_head(&pool->idle, worker);
    }
    pool_dispatch(pool);
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
void
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

int
worker_on_io(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    (void)source;
    (void)fd;
    (void)revents;
    worker_read(data, false);
    return 0;
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

void
pool_dispatch(struct pool *pool)
{
    struct scan *scan;
    struct worker *worker;
    while (match(pool, &scan, &worker)) {
        dispatch_one(pool, scan, worker);
    }
    make_room(pool);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-scan.h"

struct clamd_scans {
    struct pool *pool;
    guint limit;
    GQueue waiting;      /* of struct clamd_scan * */
    GHashTable *started; /* of struct clamd_scan *, which the pool has */
};

struct clamd_scan {
    struct clamd_scans *scans;
    struct scan *scan; /* NULL = waiting */
    struct clamd_content *content;
    scan_done *done; /* NULL = nobody waits for it */
    void *data;
};

static void on_done(void *data, const struct scan_outcome *outcome);

static void
fill(struct clamd_scans *scans)
{
    while (g_hash_table_size(scans->started) < scans->limit && !g_queue_is_empty(&scans->waiting)) {
        struct clamd_scan *scan = g_queue_pop_head(&scans->waiting);
        g_hash_table_add(scans->started, scan);
        scan->scan = pool_scan(scans->pool, clamd_content_fd(scan->content), on_done, scan);
    }
}

static void
on_done(void *data, const struct scan_outcome *outcome)
{
    struct clamd_scan *scan = data;
    struct clamd_scans *scans = scan->scans;
    scan_done *done = scan->done;
    void *owner = scan->data;
    g_hash_table_remove(scans->started, scan);
    clamd_content_free(scan->content);
    g_free(scan);
    fill(scans);
    if (done != NULL) {
        done(owner, outcome);
    }
}

struct clamd_scans *
clamd_scans_new(struct pool *pool, guint limit)
{
    struct clamd_scans *scans = g_new0(struct clamd_scans, 1);
    scans->pool = pool;
    scans->limit = limit;
    g_queue_init(&scans->waiting);
    scans->started = g_hash_table_new(NULL, NULL);
    return scans;
}

void
clamd_scans_free(struct clamd_scans *scans)
{
    GHashTableIter iter;
    void *p;
    if (scans == NULL) {
        return;
    }
    g_hash_table_iter_init(&iter, scans->started);
    while (g_hash_table_iter_next(&iter, &p, NULL)) {
        struct clamd_scan *scan = p;
        scan_cancel(scan->scan);
        clamd_content_free(scan->content);
        g_free(scan);
    }
    g_hash_table_unref(scans->started);
    g_queue_clear(&scans->waiting);
    g_free(scans);
}

struct clamd_scan *
clamd_scan_start(struct clamd_scans *scans, struct clamd_content *content, scan_done *done,
                 void *data)
{
    struct clamd_scan *scan = g_new0(struct clamd_scan, 1);
    scan->scans = scans;
    scan->content = content;
    scan->done = done;
    scan->data = data;
    g_queue_push_tail(&scans->waiting, scan);
    fill(scans);
    return scan;
}

void
clamd_scan_cancel(struct clamd_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    if (scan->scan != NULL) {
        scan->done = NULL;
        return;
    }
    g_queue_remove(&scan->scans->waiting, scan);
    clamd_content_free(scan->content);
    g_free(scan);
}

guint
clamd_scans_running(const struct clamd_scans *scans)
{
    return g_hash_table_size(scans->started);
}

guint
clamd_scans_waiting(const struct clamd_scans *scans)
{
    return scans->waiting.length;
}

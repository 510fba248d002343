/* SPDX-License-Identifier: GPL-2.0-only */
#include "fake-pool.h"

#include <string.h>
#include <unistd.h>

struct scan {
    struct pool *pool;
    char text[4096]; /* its beginning */
    scan_done *done;
    void *data;
    sd_event_source *source;
};

static void
add_parts(struct facts *facts)
{
    g_autofree char *name = g_strnfill(1000, 'n');
    char path[] = "1";
    struct part part = {.path = path, .type = name, .filename = name};
    for (int i = 0; i < FACTS_PARTS_MAX; i++) {
        facts_add_part(facts, &part);
    }
}

static struct facts *
facts_of(const char *text)
{
    struct facts *facts = facts_new();
    facts->complete = true;
    if (strstr(text, "VIRUS") != NULL) {
        facts_add_detection(facts, "Test.Virus");
    }
    if (strstr(text, "LOCKED") != NULL) {
        facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP archive", "2");
    }
    if (strstr(text, "PARTS") != NULL) {
        add_parts(facts);
    }
    return facts;
}

/* From where the descriptor stands, as a worker does that trusts its posternd. */
static void
read_text(int fd, char *text, size_t size)
{
    ssize_t n = read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
}

static void
scan_free(struct scan *scan)
{
    scan->pool->running--;
    sd_event_source_disable_unref(scan->source);
    g_free(scan);
}

static int
on_scan(sd_event_source *source, void *data)
{
    struct scan *scan = data;
    scan_done *done = scan->done;
    void *done_data = scan->data;
    (void)source;
    bool fail = strstr(scan->text, "FAIL") != NULL;
    g_autoptr(facts_t) facts = fail ? NULL : facts_of(scan->text);
    struct scan_outcome outcome = {.facts = facts, .error = fail ? "two workers died" : NULL};
    scan_free(scan);
    done(done_data, &outcome);
    return 0;
}

static void
scan_end_soon(struct scan *scan)
{
    int rc = sd_event_add_defer(scan->pool->event, &scan->source, on_scan, scan);
    g_assert(rc >= 0);
}

static void
scan_hold(struct pool *pool, struct scan *scan)
{
    pool->held[pool->n_held++] = scan;
    while (pool->running >= pool->hold && pool->n_held > 0) {
        scan_end_soon(pool->held[--pool->n_held]);
    }
}

struct scan *
pool_scan(struct pool *pool, int fd, scan_done *done, void *data)
{
    struct scan *scan = g_new0(struct scan, 1);
    scan->pool = pool;
    scan->done = done;
    scan->data = data;
    pool->scans++;
    pool->running++;
    read_text(fd, scan->text, sizeof scan->text);
    pool->most = MAX(pool->most, pool->running);
    if (pool->hold > 0) {
        scan_hold(pool, scan);
    } else if (strstr(scan->text, "HANG") == NULL) {
        scan_end_soon(scan);
    }
    return scan;
}

void
scan_cancel(struct scan *scan)
{
    if (scan != NULL) {
        scan->pool->cancelled++;
        scan_free(scan);
    }
}

bool
pool_ready(const struct pool *pool)
{
    return pool->ready;
}

json_t *
pool_status(const struct pool *pool)
{
    return json_pack("{s:n, s:b, s:i, s:i, s:i}", "engine", "ready", pool->ready, "workers", 2,
                     "idle", 2 - pool->running, "queued", 0);
}

guint64
pool_signatures_age(const struct pool *pool)
{
    return pool->age;
}

unsigned
pool_queued(const struct pool *pool)
{
    return pool->queued;
}

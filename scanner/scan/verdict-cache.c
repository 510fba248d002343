/* SPDX-License-Identifier: GPL-2.0-only */
#include "verdict-cache.h"

#include <stdlib.h>
#include <string.h>

struct verdict_cache {
    struct lru *lru;
    bool on;
    guint64 hits;
    guint64 misses;
};

/* Facts as text are a third of what they are as objects, and their size is known. */
struct saying {
    gint64 worker;
    char *facts;
};

static void
saying_free(void *p)
{
    struct saying *saying = p;
    free(saying->facts);
    g_free(saying);
}

struct verdict_cache *
verdict_cache_new(guint64 limit, gint64 age_us)
{
    struct verdict_cache *cache = g_new0(struct verdict_cache, 1);
    cache->lru = lru_new(limit, age_us, saying_free);
    cache->on = limit > 0;
    return cache;
}

void
verdict_cache_free(struct verdict_cache *cache)
{
    if (cache != NULL) {
        lru_free(cache->lru);
        g_free(cache);
    }
}

bool
verdict_cache_is_on(const struct verdict_cache *cache)
{
    return cache->on;
}

struct facts *
verdict_cache_get(struct verdict_cache *cache, const guint8 key[LRU_KEY], gint64 now_us,
                  gint64 *ret_worker)
{
    const struct saying *saying = lru_get(cache->lru, key, now_us);
    if (saying == NULL) {
        cache->misses++;
        return NULL;
    }
    json_auto_t *json = json_loads(saying->facts, 0, NULL);
    struct facts *facts = json != NULL ? facts_from_json(json) : NULL;
    if (facts == NULL) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    *ret_worker = saying->worker;
    return facts;
}

/* It would be said again: an end, no fault, and no limit. */
static bool
is_certain(const struct facts *facts)
{
    if (facts_verdict(facts) == VERDICT_ERROR || !facts->complete || facts->faults->len > 0) {
        return false;
    }
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *one = g_ptr_array_index(facts->unscanned, i);
        if (one->cause == CAUSE_LIMIT) {
            return false;
        }
    }
    return true;
}

void
verdict_cache_put(struct verdict_cache *cache, const guint8 key[LRU_KEY], gint64 worker,
                  const struct facts *facts, gint64 now_us)
{
    if (!cache->on || !is_certain(facts)) {
        return;
    }
    json_auto_t *json = facts_to_json(facts);
    struct saying *saying = g_new0(struct saying, 1);
    saying->worker = worker;
    saying->facts = json_dumps(json, JSON_COMPACT);
    lru_put(cache->lru, key, saying, sizeof *saying + strlen(saying->facts), now_us);
}

static gboolean
is_from(void *value, void *data)
{
    return ((const struct saying *)value)->worker == *(const gint64 *)data;
}

void
verdict_cache_forget(struct verdict_cache *cache, gint64 worker)
{
    lru_remove_if(cache->lru, is_from, &worker);
}

void
verdict_cache_clear(struct verdict_cache *cache)
{
    lru_clear(cache->lru);
}

json_t *
verdict_cache_status(const struct verdict_cache *cache)
{
    return json_pack("{s:i, s:I, s:I, s:I}", "entries", (int)lru_count(cache->lru), "bytes",
                     (json_int_t)lru_bytes(cache->lru), "hits", (json_int_t)cache->hits, "misses",
                     (json_int_t)cache->misses);
}

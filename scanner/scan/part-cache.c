/* SPDX-License-Identifier: GPL-2.0-only */
#include "part-cache.h"

#include <string.h>

struct part_cache {
    struct lru *lru;
    bool on;
    guint64 hits;
    guint64 misses;
    guint64 contradictions;
};

struct claim {
    gint64 witnesses[2]; /* numbers of workers; 0 = none yet */
    char *inside;
};

static void
claim_free(void *p)
{
    struct claim *claim = p;
    g_free(claim->inside);
    g_free(claim);
}

struct part_cache *
part_cache_new(guint64 limit, gint64 age_us)
{
    struct part_cache *cache = g_new0(struct part_cache, 1);
    cache->lru = lru_new(limit, age_us, claim_free);
    cache->on = limit > 0;
    return cache;
}

void
part_cache_free(struct part_cache *cache)
{
    if (cache != NULL) {
        lru_free(cache->lru);
        g_free(cache);
    }
}

bool
part_cache_is_on(const struct part_cache *cache)
{
    return cache->on;
}

const char *
part_cache_get(struct part_cache *cache, const guint8 key[LRU_KEY], gint64 now_us)
{
    const struct claim *claim = lru_get(cache->lru, key, now_us);
    if (claim == NULL || claim->witnesses[1] == 0) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    return claim->inside;
}

static void
put(struct part_cache *cache, const guint8 key[LRU_KEY], const gint64 witnesses[2],
    const char *inside, gint64 now_us)
{
    struct claim *claim = g_new0(struct claim, 1);
    memcpy(claim->witnesses, witnesses, sizeof claim->witnesses);
    claim->inside = g_strdup(inside);
    lru_put(cache->lru, key, claim, sizeof *claim + strlen(inside), now_us);
}

void
part_cache_report(struct part_cache *cache, const guint8 key[LRU_KEY], gint64 worker,
                  const char *inside, gint64 now_us)
{
    const struct claim *claim = lru_get(cache->lru, key, now_us);
    if (!cache->on) {
        return;
    }
    if (claim == NULL) {
        put(cache, key, (const gint64[]){worker, 0}, inside, now_us);
    } else if (strcmp(claim->inside, inside) != 0) {
        cache->contradictions++;
        lru_remove(cache->lru, key);
    } else if (claim->witnesses[1] == 0 && claim->witnesses[0] != worker) {
        put(cache, key, (const gint64[]){claim->witnesses[0], worker}, inside, now_us);
    }
}

static gboolean
is_from(void *value, void *data)
{
    const struct claim *claim = value;
    const gint64 worker = *(const gint64 *)data;
    return claim->witnesses[0] == worker || claim->witnesses[1] == worker;
}

void
part_cache_forget(struct part_cache *cache, gint64 worker)
{
    lru_remove_if(cache->lru, is_from, &worker);
}

void
part_cache_clear(struct part_cache *cache)
{
    lru_clear(cache->lru);
}

json_t *
part_cache_status(const struct part_cache *cache)
{
    return json_pack("{s:i, s:I, s:I, s:I, s:I}", "entries", (int)lru_count(cache->lru), "bytes",
                     (json_int_t)lru_bytes(cache->lru), "hits", (json_int_t)cache->hits, "misses",
                     (json_int_t)cache->misses, "contradictions",
                     (json_int_t)cache->contradictions);
}

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

struct part {
    gint64 witnesses[2]; /* numbers of workers; 0 = none yet */
    char *inside;
};

static void
part_free(void *p)
{
    struct part *part = p;
    g_free(part->inside);
    g_free(part);
}

struct part_cache *
part_cache_new(guint64 limit, gint64 age_us)
{
    struct part_cache *cache = g_new0(struct part_cache, 1);
    cache->lru = lru_new(limit, age_us, part_free);
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
    const struct part *part = lru_get(cache->lru, key, now_us);
    if (part == NULL || part->witnesses[1] == 0) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    return part->inside;
}

static void
put(struct part_cache *cache, const guint8 key[LRU_KEY], const gint64 witnesses[2],
    const char *inside, gint64 now_us)
{
    struct part *part = g_new0(struct part, 1);
    memcpy(part->witnesses, witnesses, sizeof part->witnesses);
    part->inside = g_strdup(inside);
    lru_put(cache->lru, key, part, sizeof *part + strlen(inside), now_us);
}

void
part_cache_report(struct part_cache *cache, const guint8 key[LRU_KEY], gint64 worker,
                  const char *inside, gint64 now_us)
{
    const struct part *part = lru_get(cache->lru, key, now_us);
    if (!cache->on) {
        return;
    }
    if (part == NULL) {
        put(cache, key, (const gint64[]){worker, 0}, inside, now_us);
    } else if (strcmp(part->inside, inside) != 0) {
        cache->contradictions++;
        lru_remove(cache->lru, key);
    } else if (part->witnesses[1] == 0 && part->witnesses[0] != worker) {
        put(cache, key, (const gint64[]){part->witnesses[0], worker}, inside, now_us);
    }
}

static gboolean
is_from(void *value, void *data)
{
    const struct part *part = value;
    const gint64 worker = *(const gint64 *)data;
    return part->witnesses[0] == worker || part->witnesses[1] == worker;
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

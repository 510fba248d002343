/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PART_CACHE_H
#define PART_CACHE_H

/*
 * Attachments that two different workers, each on its own, found clean in scans of which nothing
 * else is to be said (docs/DECISIONS/0008-caches.md). Their keys come from workers, so one worker's
 * word counts for nothing: a second must say the same of the same bytes in the same place, in the
 * same words, before a third leaves out the scan. As in verdict-cache.h the owner clears it when
 * signatures, engine or options change.
 */

#include <stdbool.h>
#include <jansson.h>

#include "lru.h"

/* Questions that a worker may ask in one scan, and parts that it may report at its end. */
#define PART_CACHE_ASKS_MAX 64

struct part_cache;

/* LIMIT in bytes, 0 = off; AGE_US: how long a first saying waits for the second, and how long the
 * two are believed. */
struct part_cache *part_cache_new(guint64 limit, gint64 age_us);
void part_cache_free(struct part_cache *cache);

bool part_cache_is_on(const struct part_cache *cache);

/* What both said of what is inside (borrowed until the next call); NULL = not known. */
const char *part_cache_get(struct part_cache *cache, const guint8 key[LRU_KEY], gint64 now_us);
/*
 * WORKER found the part clean, and INSIDE in it (facts.h as compact JSON with sorted keys). A
 * contradiction of what another said removes both.
 */
void part_cache_report(struct part_cache *cache, const guint8 key[LRU_KEY], gint64 worker,
                       const char *inside, gint64 now_us);
/* The worker ended otherwise than it should: what it said, alone or as one of two, is gone. */
void part_cache_forget(struct part_cache *cache, gint64 worker);
void part_cache_clear(struct part_cache *cache);

/* {"entries": n, "bytes": n, "hits": n, "misses": n, "contradictions": n} */
json_t *part_cache_status(const struct part_cache *cache);

#endif

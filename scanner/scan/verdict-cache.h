/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VERDICT_CACHE_H
#define VERDICT_CACHE_H

/*
 * What was found out about whole messages, by the SHA-256 that posternd itself computed over them
 * (docs/DECISIONS/0008-caches.md). Everything in it is of one set of signatures, engine version
 * and options: whoever owns it clears it when these change, and puts nothing in that came from a
 * worker of before.
 */

#include <jansson.h>

#include "facts.h"
#include "lru.h"

struct verdict_cache;

/* LIMIT in bytes, 0 = off; AGE_US: how long an entry lives. */
struct verdict_cache *verdict_cache_new(guint64 limit, gint64 age_us);
void verdict_cache_free(struct verdict_cache *cache);

bool verdict_cache_is_on(const struct verdict_cache *cache);

/* New facts for facts_free() and who said so, or NULL. */
struct facts *verdict_cache_get(struct verdict_cache *cache, const guint8 key[LRU_KEY],
                                gint64 now_us, gint64 *ret_worker);
/*
 * Keeps what WORKER says, if it is certain to be said again: of a scan that reached its end without
 * a fault, and that met no limit (time is one, and the next scan may have more).
 */
void verdict_cache_put(struct verdict_cache *cache, const guint8 key[LRU_KEY], gint64 worker,
                       const struct facts *facts, gint64 now_us);
/* The worker ended otherwise than it should: nothing that it said is believed any longer. */
void verdict_cache_forget(struct verdict_cache *cache, gint64 worker);
void verdict_cache_clear(struct verdict_cache *cache);

/* {"entries": n, "bytes": n, "hits": n, "misses": n} */
json_t *verdict_cache_status(const struct verdict_cache *cache);

#endif

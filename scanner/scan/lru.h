/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LRU_H
#define LRU_H

/*
 * Values by SHA-256, bounded in bytes: what was not used for longest goes first, and whatever is
 * older than its time.
 */

#include <glib.h>

#define LRU_KEY 32

struct lru;

/* VALUE_FREE frees a value. LIMIT in bytes, 0 = it keeps nothing; AGE_US: how long a value lives.
 */
struct lru *lru_new(guint64 limit, gint64 age_us, GDestroyNotify value_free);
void lru_free(struct lru *lru);

/* The value (borrowed until the next call), the last used one now; NULL = none, or too old. */
void *lru_get(struct lru *lru, const guint8 key[LRU_KEY], gint64 now_us);
/*
 * Takes VALUE over, in the place of one that was there. SIZE: bytes it holds; the bookkeeping is
 * counted by the list itself.
 */
void lru_put(struct lru *lru, const guint8 key[LRU_KEY], void *value, gsize size, gint64 now_us);
void lru_remove(struct lru *lru, const guint8 key[LRU_KEY]);
void lru_clear(struct lru *lru);
/* Removes every value for which MATCHES says TRUE. */
void lru_remove_if(struct lru *lru, gboolean (*matches)(void *value, void *data), void *data);

guint64 lru_bytes(const struct lru *lru);
guint lru_count(const struct lru *lru);

#endif

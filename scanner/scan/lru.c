/* SPDX-License-Identifier: GPL-2.0-only */
#include "lru.h"

#include <string.h>

/* What the tables and the allocator take beside the value, roughly. */
#define OVERHEAD (sizeof(struct entry) + 64)

struct entry {
    guint8 key[LRU_KEY];
    void *value;
    gsize size;
    gint64 end_us;
    GList link; /* data = the entry */
};

struct lru {
    guint64 limit;
    guint64 bytes;
    gint64 age_us;
    GDestroyNotify value_free;
    GHashTable *entries; /* by key; owns them */
    GQueue order;        /* the last used first */
};

/* Keys are digests: any four bytes are as good as the next. */
static guint
key_hash(const void *key)
{
    guint hash;
    memcpy(&hash, key, sizeof hash);
    return hash;
}

static gboolean
key_equal(const void *a, const void *b)
{
    return memcmp(a, b, LRU_KEY) == 0;
}

struct lru *
lru_new(guint64 limit, gint64 age_us, GDestroyNotify value_free)
{
    struct lru *lru = g_new0(struct lru, 1);
    lru->limit = limit;
    lru->age_us = age_us;
    lru->value_free = value_free;
    lru->entries = g_hash_table_new(key_hash, key_equal);
    g_queue_init(&lru->order);
    return lru;
}

static void
entry_remove(struct lru *lru, struct entry *entry)
{
    g_queue_unlink(&lru->order, &entry->link);
    g_hash_table_remove(lru->entries, entry->key);
    lru->bytes -= entry->size;
    lru->value_free(entry->value);
    g_free(entry);
}

void
lru_free(struct lru *lru)
{
    if (lru != NULL) {
        lru_clear(lru);
        g_hash_table_unref(lru->entries);
        g_free(lru);
    }
}

void *
lru_get(struct lru *lru, const guint8 key[LRU_KEY], gint64 now_us)
{
    struct entry *entry = g_hash_table_lookup(lru->entries, key);
    if (entry == NULL) {
        return NULL;
    }
    if (now_us >= entry->end_us) {
        entry_remove(lru, entry);
        return NULL;
    }
    g_queue_unlink(&lru->order, &entry->link);
    g_queue_push_head_link(&lru->order, &entry->link);
    return entry->value;
}

void
lru_put(struct lru *lru, const guint8 key[LRU_KEY], void *value, gsize size, gint64 now_us)
{
    lru_remove(lru, key);
    if (size + OVERHEAD > lru->limit) {
        lru->value_free(value);
        return;
    }
    struct entry *entry = g_new0(struct entry, 1);
    memcpy(entry->key, key, LRU_KEY);
    entry->value = value;
    entry->size = size + OVERHEAD;
    entry->end_us = now_us + lru->age_us;
    entry->link.data = entry;
    g_hash_table_insert(lru->entries, entry->key, entry);
    g_queue_push_head_link(&lru->order, &entry->link);
    lru->bytes += entry->size;
    while (lru->bytes > lru->limit) {
        entry_remove(lru, g_queue_peek_tail(&lru->order));
    }
}

void
lru_remove(struct lru *lru, const guint8 key[LRU_KEY])
{
    struct entry *entry = g_hash_table_lookup(lru->entries, key);
    if (entry != NULL) {
        entry_remove(lru, entry);
    }
}

void
lru_clear(struct lru *lru)
{
    while (!g_queue_is_empty(&lru->order)) {
        entry_remove(lru, g_queue_peek_tail(&lru->order));
    }
}

void
lru_remove_if(struct lru *lru, gboolean (*matches)(void *value, void *data), void *data)
{
    for (GList *link = lru->order.head; link != NULL;) {
        struct entry *entry = link->data;
        link = link->next;
        if (matches(entry->value, data)) {
            entry_remove(lru, entry);
        }
    }
}

guint64
lru_bytes(const struct lru *lru)
{
    return lru->bytes;
}

guint
lru_count(const struct lru *lru)
{
    return lru->order.length;
}

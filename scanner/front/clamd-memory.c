/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-memory.h"

#include <errno.h>
#include <unistd.h>

struct waiter {
    clamd_memory_wake *wake;
    void *data;
};

struct clamd_memory {
    struct spool_budget *budget;
    guint64 used;
    guint complete; /* contents: they are scanned, and then give their memory back */
    GQueue waiters; /* of struct waiter * */
    sd_event_source *source;
};

struct clamd_content {
    struct clamd_memory *memory;
    struct spool *spool; /* NULL: FD is its own */
    guint64 size;
    int fd;
};

static int
on_released(sd_event_source *source, void *data)
{
    struct clamd_memory *memory = data;
    struct waiter *waiter;
    (void)source;
    /* Those who wait again come behind the last of now. */
    for (guint n = memory->waiters.length; n > 0; n--) {
        waiter = g_queue_pop_head(&memory->waiters);
        if (waiter == NULL) {
            break;
        }
        clamd_memory_wake *wake = waiter->wake;
        void *owner = waiter->data;
        g_free(waiter);
        wake(owner);
    }
    return 0;
}

int
clamd_memory_new(sd_event *event, struct spool_budget *budget, struct clamd_memory **ret)
{
    struct clamd_memory *memory = g_new0(struct clamd_memory, 1);
    memory->budget = budget;
    g_queue_init(&memory->waiters);
    int rc = sd_event_add_defer(event, &memory->source, on_released, memory);
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(memory->source, SD_EVENT_OFF);
    }
    if (rc < 0) {
        clamd_memory_free(memory);
        return rc;
    }
    *ret = memory;
    return 0;
}

void
clamd_memory_free(struct clamd_memory *memory)
{
    if (memory != NULL) {
        sd_event_source_disable_unref(memory->source);
        g_queue_clear_full(&memory->waiters, g_free);
        g_free(memory);
    }
}

int
clamd_memory_take(struct clamd_memory *memory, guint64 own, guint64 len)
{
    const struct spool_budget *budget = memory->budget;
    gboolean in_share = memory->used == own || memory->used + len <= budget->limit / 2;
    gboolean in_budget = budget->used <= budget->limit && len <= budget->limit - budget->used;
    if (in_share && in_budget) {
        memory->used += len;
        return 0;
    }
    return memory->complete > 0 ? -EAGAIN : -ENOBUFS;
}

void
clamd_memory_release(struct clamd_memory *memory, guint64 len)
{
    memory->used -= len;
    if (memory->waiters.length > 0) {
        (void)sd_event_source_set_enabled(memory->source, SD_EVENT_ONESHOT);
    }
}

static struct clamd_content *
content_new(struct clamd_memory *memory, struct spool *spool, guint64 size)
{
    struct clamd_content *content = g_new0(struct clamd_content, 1);
    content->memory = memory;
    content->spool = spool;
    content->size = size;
    content->fd = -1;
    memory->complete++;
    return content;
}

struct clamd_content *
clamd_content_of_spool(struct clamd_memory *memory, struct spool *spool)
{
    return content_new(memory, spool, spool_size(spool));
}

int
clamd_content_new(struct clamd_memory *memory, guint64 size, struct clamd_content **ret)
{
    int rc = clamd_memory_take(memory, 0, size);
    if (rc == 0) {
        (void)spool_budget_take(memory->budget, size);
        *ret = content_new(memory, NULL, size);
    }
    return rc;
}

void
clamd_content_set(struct clamd_content *content, int fd)
{
    content->fd = fd;
}

void
clamd_content_free(struct clamd_content *content)
{
    if (content == NULL) {
        return;
    }
    if (content->spool == NULL) {
        spool_budget_give(content->memory->budget, content->size);
    }
    spool_free(content->spool);
    if (content->fd >= 0) {
        close(content->fd);
    }
    content->memory->complete--;
    clamd_memory_release(content->memory, content->size);
    g_free(content);
}

int
clamd_content_fd(const struct clamd_content *content)
{
    return content->spool != NULL ? spool_fd(content->spool) : content->fd;
}

void
clamd_memory_wait(struct clamd_memory *memory, clamd_memory_wake *wake, void *data)
{
    struct waiter *waiter = g_new(struct waiter, 1);
    waiter->wake = wake;
    waiter->data = data;
    g_queue_push_tail(&memory->waiters, waiter);
}

void
clamd_memory_forget(struct clamd_memory *memory, void *data)
{
    for (GList *l = memory->waiters.head; l != NULL; l = l->next) {
        struct waiter *waiter = l->data;
        if (waiter->data == data) {
            g_free(waiter);
            g_queue_delete_link(&memory->waiters, l);
            return;
        }
    }
}

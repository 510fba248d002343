/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-item.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "actions.h"
#include "clamd-file.h"

struct clamd_item {
    struct clamd_services *services;
    clamd_item_done *done;
    void *owner;
    struct work *work; /* NULL while a thread has it */
    struct offload_task *task;
    struct clamd_content *content; /* memory for it; its scan's once that has begun */
    struct clamd_scan *scan;
};

/* The thread's while it runs. */
struct work {
    int fd;
    guint64 size;
    int memory; /* the copy */
};

static void
work_free(void *p)
{
    struct work *work = p;
    if (work != NULL) {
        close(work->fd);
        if (work->memory >= 0) {
            close(work->memory);
        }
        g_free(work);
    }
}

static int
work_size(void *p)
{
    struct work *work = p;
    return clamd_file_size(work->fd, &work->size);
}

static int
work_copy(void *p)
{
    struct work *work = p;
    work->memory = clamd_file_copy(work->fd, work->size);
    return MIN(work->memory, 0);
}

static void
item_free(struct clamd_item *item)
{
    clamd_memory_forget(item->services->memory, item);
    offload_cancel(item->task);
    clamd_scan_cancel(item->scan);
    clamd_content_free(item->content);
    work_free(item->work);
    g_free(item);
}

static void
finish(struct clamd_item *item, struct clamd_verdict *verdict)
{
    clamd_item_done *done = item->done;
    void *owner = item->owner;
    done(owner, item, verdict);
    item_free(item);
}

static void
fail(struct clamd_item *item, int error)
{
    struct clamd_verdict verdict;
    const char *text = error == -ENOTSUP     ? "Not a regular file"
                       : error == -ETIMEDOUT ? "The file could not be read in time."
                       : error == -EUCLEAN   ? "The file changed while it was read."
                       : error == -EBUSY     ? "Too many files cannot be read now."
                       : error == -ENOBUFS   ? "The memory for messages is in use, try again later."
                                             : g_strerror(-error);
    clamd_verdict_error(text, &verdict);
    finish(item, &verdict);
}

/* Who asks here cannot be told of a doubt beside the verdict: tagged is clean. */
void
clamd_services_judge(const struct clamd_services *services, const struct scan_outcome *outcome,
                     struct clamd_verdict *ret)
{
    const struct settings *settings = services->settings;
    guint64 limit = settings->on_old == ACTION_TAG ? 0 : settings->age_unsafe;
    guint64 age = limit == 0 ? 0 : pool_signatures_age(services->pool);
    clamd_verdict_of(outcome, ret);
    if (age > limit) {
        clamd_verdict_too_old(age, ret);
    }
}

static void
on_scanned(void *data, const struct scan_outcome *outcome)
{
    struct clamd_item *item = data;
    struct clamd_verdict verdict;
    item->scan = NULL;
    clamd_services_judge(item->services, outcome, &verdict);
    finish(item, &verdict);
}

static void
on_copied(void *owner, void *data, int rc)
{
    struct clamd_item *item = owner;
    item->task = NULL;
    item->work = data;
    if (rc < 0) {
        fail(item, rc);
        return;
    }
    clamd_content_set(item->content, item->work->memory);
    item->work->memory = -1;
    item->scan =
        clamd_scan_start(item->services->scans, g_steal_pointer(&item->content), on_scanned, item);
}

static void
get_memory(void *data)
{
    struct clamd_item *item = data;
    int rc = clamd_content_new(item->services->memory, item->work->size, &item->content);
    if (rc == -EAGAIN) {
        clamd_memory_wait(item->services->memory, get_memory, item);
    } else if (rc < 0) {
        fail(item, rc);
    } else {
        item->task = offload_start(item->services->offload, work_copy, g_steal_pointer(&item->work),
                                   work_free, on_copied, item);
    }
}

static void
on_size(void *owner, void *data, int rc)
{
    struct clamd_item *item = owner;
    struct clamd_verdict verdict;
    item->task = NULL;
    item->work = data;
    if (rc < 0) {
        fail(item, rc);
    } else if (item->work->size > item->services->settings->message_size) {
        clamd_verdict_too_large(&verdict);
        finish(item, &verdict);
    } else {
        get_memory(item);
    }
}

struct clamd_item *
clamd_item_start(struct clamd_services *services, int fd, clamd_item_done *done, void *owner)
{
    struct clamd_item *item = g_new0(struct clamd_item, 1);
    struct work *work = g_new0(struct work, 1);
    work->fd = fd;
    work->memory = -1;
    item->services = services;
    item->done = done;
    item->owner = owner;
    item->task = offload_start(services->offload, work_size, work, work_free, on_size, item);
    return item;
}

void
clamd_item_cancel(struct clamd_item *item)
{
    if (item != NULL) {
        item_free(item);
    }
}

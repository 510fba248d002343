/* SPDX-License-Identifier: GPL-2.0-only */
#include "offload.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What threads and loop share; the last of them frees it. */
struct board {
    gatomicrefcount refs;
    int wake;              /* eventfd, thread -> loop */
    GAsyncQueue *returned; /* of struct run *: back from their threads */
};

/* One call in a thread. */
struct run {
    struct board *board;
    offload_work *work;
    void *data;
    GDestroyNotify destroy;
    int rc;
    struct offload_task *task; /* the loop's alone; NULL = given up */
};

struct offload {
    sd_event *event;
    guint64 timeout_us;
    struct board *board;
    GThreadPool *threads;
    sd_event_source *wake;
    GHashTable *tasks; /* of struct offload_task *, which have not ended */
    guint stuck;
};

struct offload_task {
    struct offload *offload;
    struct run *run; /* NULL = never begun */
    offload_done *done;
    void *owner;
    sd_event_source *timer;
    int refused; /* why it was not begun */
};

static void
board_unref(struct board *board)
{
    if (g_atomic_ref_count_dec(&board->refs)) {
        g_async_queue_unref(board->returned);
        close(board->wake);
        g_free(board);
    }
}

static void
run_free(void *p)
{
    struct run *run = p;
    struct board *board = run->board;
    if (run->data != NULL) {
        run->destroy(run->data);
    }
    g_free(run);
    board_unref(board);
}

static void
thread_run(void *p, void *user_data)
{
    struct run *run = p;
    struct board *board = run->board;
    const uint64_t one = 1;
    (void)user_data;
    /* Of its own: once the run is returned, the loop may let go of the last other one. */
    g_atomic_ref_count_inc(&board->refs);
    run->rc = run->work(run->data);
    g_async_queue_push(board->returned, run);
    ssize_t n = write(board->wake, &one, sizeof one);
    (void)n;
    board_unref(board);
}

static void
task_free(struct offload_task *task)
{
    g_hash_table_remove(task->offload->tasks, task);
    sd_event_source_disable_unref(task->timer);
    g_free(task);
}

static void
task_finish(struct offload_task *task, void *data, int rc)
{
    offload_done *done = task->done;
    void *owner = task->owner;
    task_free(task);
    done(owner, data, rc);
}

static void
run_returned(struct offload *offload, struct run *run)
{
    struct offload_task *task = run->task;
    if (task == NULL) {
        offload->stuck--;
        run_free(run);
        return;
    }
    void *data = g_steal_pointer(&run->data);
    int rc = run->rc;
    run_free(run);
    task_finish(task, data, rc);
}

static int
on_wake(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct offload *offload = data;
    struct run *run;
    uint64_t count;
    (void)source;
    (void)revents;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
    while ((run = g_async_queue_try_pop(offload->board->returned)) != NULL) {
        run_returned(offload, run);
    }
    return 0;
}

static void
give_up(struct offload_task *task)
{
    if (task->run != NULL) {
        task->run->task = NULL;
        task->offload->stuck++;
    }
}

static int
on_time(sd_event_source *source, uint64_t now_us, void *data)
{
    struct offload_task *task = data;
    int rc = task->run == NULL ? task->refused : -ETIMEDOUT;
    (void)source;
    (void)now_us;
    give_up(task);
    task_finish(task, NULL, rc);
    return 0;
}

static struct board *
board_new(void)
{
    struct board *board = g_new0(struct board, 1);
    board->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (board->wake < 0) {
        g_free(board);
        return NULL;
    }
    g_atomic_ref_count_init(&board->refs);
    board->returned = g_async_queue_new_full(run_free);
    return board;
}

int
offload_new(sd_event *event, guint64 timeout_us, struct offload **ret)
{
    struct offload *offload = g_new0(struct offload, 1);
    offload->event = event;
    offload->timeout_us = timeout_us;
    offload->tasks = g_hash_table_new(NULL, NULL);
    offload->board = board_new();
    int rc = offload->board == NULL ? -errno : 0;
    if (rc == 0) {
        /* Without a limit of its own: those that are stuck must not hold up the others. */
        offload->threads = g_thread_pool_new(thread_run, NULL, -1, FALSE, NULL);
        rc =
            sd_event_add_io(event, &offload->wake, offload->board->wake, EPOLLIN, on_wake, offload);
    }
    if (rc < 0) {
        offload_free(offload);
        return rc;
    }
    *ret = offload;
    return 0;
}

void
offload_free(struct offload *offload)
{
    if (offload == NULL) {
        return;
    }
    GHashTableIter iter;
    void *p;
    g_hash_table_iter_init(&iter, offload->tasks);
    while (g_hash_table_iter_next(&iter, &p, NULL)) {
        struct offload_task *task = p;
        g_hash_table_iter_remove(&iter);
        give_up(task);
        sd_event_source_disable_unref(task->timer);
        g_free(task);
    }
    g_hash_table_unref(offload->tasks);
    sd_event_source_disable_unref(offload->wake);
    if (offload->threads != NULL) {
        g_thread_pool_free(offload->threads, FALSE, FALSE);
    }
    if (offload->board != NULL) {
        board_unref(offload->board);
    }
    g_free(offload);
}

/* Returns 0, or -EBUSY or -EAGAIN with DATA destroyed. */
static int
run_start(struct offload_task *task, offload_work *work, void *data, GDestroyNotify destroy)
{
    struct offload *offload = task->offload;
    GError *error = NULL;
    if (offload->stuck >= OFFLOAD_STUCK_MAX) {
        destroy(data);
        return -EBUSY;
    }
    struct run *run = g_new0(struct run, 1);
    run->board = offload->board;
    g_atomic_ref_count_inc(&run->board->refs);
    run->work = work;
    run->data = data;
    run->destroy = destroy;
    run->task = task;
    task->run = run;
    if (!g_thread_pool_push(offload->threads, run, &error)) {
        /* It stays in the queue there and would run when the next thread can be made. */
        g_clear_error(&error);
    }
    return 0;
}

struct offload_task *
offload_start(struct offload *offload, offload_work *work, void *data, GDestroyNotify destroy,
              offload_done *done, void *owner)
{
    struct offload_task *task = g_new0(struct offload_task, 1);
    task->offload = offload;
    task->done = done;
    task->owner = owner;
    g_hash_table_add(offload->tasks, task);
    task->refused = run_start(task, work, data, destroy);
    int rc = sd_event_add_time_relative(offload->event, &task->timer, CLOCK_MONOTONIC,
                                        task->refused < 0 ? 0 : offload->timeout_us, 1000, on_time,
                                        task);
    g_assert(rc >= 0);
    return task;
}

void
offload_cancel(struct offload_task *task)
{
    if (task != NULL) {
        give_up(task);
        task_free(task);
    }
}

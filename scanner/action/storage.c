/* SPDX-License-Identifier: GPL-2.0-only */
#include "storage.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "patience.h"

struct job {
    storage_work *work;
    storage_done *done;
    void *data;
    int result;
    gint64 since; /* monotonic, microseconds */
};

struct storage {
    struct state *state; /* the thread's alone while it runs */
    guint64 epoch;
    storage_fatal *on_fatal;
    void *data;
    sd_event_source *source;
    int wake; /* eventfd: finished jobs, thread -> loop */
    GThread *thread;
    gboolean told; /* ON_FATAL was called */

    GMutex lock; /* guards what follows */
    GCond more;
    GQueue waiting;  /* of struct job * */
    GQueue patient;  /* of struct job *, of the background */
    GQueue finished; /* of struct job * */
    gboolean stop;
    int fatal; /* 0 or the -errno that ended the work */
};

static gboolean
is_fatal(int rc)
{
    return rc == -EIO || rc == -EROFS || rc == -EUCLEAN || rc == -ESTALE;
}

/* Called with the lock. NULL when there is none. */
static struct job *
job_choose(struct storage *storage)
{
    const struct job *patient = g_queue_peek_head(&storage->patient);
    gboolean overdue =
        patient != NULL && g_get_monotonic_time() - patient->since > STORAGE_PATIENCE_US;
    if (overdue || g_queue_is_empty(&storage->waiting)) {
        return g_queue_pop_head(&storage->patient);
    }
    return g_queue_pop_head(&storage->waiting);
}

/* The next job, NULL when the thread is to end. */
static struct job *
job_wait(struct storage *storage)
{
    g_mutex_lock(&storage->lock);
    while (!storage->stop && g_queue_is_empty(&storage->waiting) &&
           g_queue_is_empty(&storage->patient)) {
        g_cond_wait(&storage->more, &storage->lock);
    }
    struct job *job = storage->stop ? NULL : job_choose(storage);
    int fatal = storage->fatal;
    g_mutex_unlock(&storage->lock);
    if (job != NULL) {
        job->result = fatal;
    }
    return job;
}

static void
job_finish(struct storage *storage, struct job *job)
{
    const uint64_t one = 1;
    g_mutex_lock(&storage->lock);
    if (is_fatal(job->result)) {
        storage->fatal = job->result;
    }
    g_queue_push_tail(&storage->finished, job);
    g_mutex_unlock(&storage->lock);
    /* Only a full counter could refuse this, and that wakes the loop as well. */
    ssize_t n = write(storage->wake, &one, sizeof one);
    (void)n;
}

static void *
thread_run(void *data)
{
    struct storage *storage = data;
    struct job *job;
    while ((job = job_wait(storage)) != NULL) {
        if (job->result == 0) {
            job->result = job->work(storage->state, job->data);
        }
        job_finish(storage, job);
    }
    return NULL;
}

/* DONE may submit again, so the queue is taken whole first. */
static int
finished_deliver(struct storage *storage)
{
    GQueue jobs = G_QUEUE_INIT;
    struct job *job;
    g_mutex_lock(&storage->lock);
    jobs = storage->finished;
    g_queue_init(&storage->finished);
    int fatal = storage->fatal;
    g_mutex_unlock(&storage->lock);
    while ((job = g_queue_pop_head(&jobs)) != NULL) {
        job->done(job->data, job->result);
        g_free(job);
    }
    return fatal;
}

static void
tell_fatal(struct storage *storage, int error)
{
    if (storage->told) {
        return;
    }
    storage->told = TRUE;
    const char *text = error == -ESTALE ? "another process has taken over the state"
                                        : "the state is not usable here any more";
    storage->on_fatal(storage->data, error, text);
}

static int
on_wake(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct storage *storage = data;
    uint64_t count;
    (void)source;
    (void)events;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
    int fatal = finished_deliver(storage);
    if (fatal < 0) {
        tell_fatal(storage, fatal);
    }
    return 0;
}

static int
start(struct storage *storage, sd_event *event)
{
    storage->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (storage->wake < 0) {
        return -errno;
    }
    int rc = sd_event_add_io(event, &storage->source, storage->wake, EPOLLIN, on_wake, storage);
    if (rc < 0) {
        return rc;
    }
    storage->thread = g_thread_try_new("storage", thread_run, storage, NULL);
    return storage->thread == NULL ? -EAGAIN : 0;
}

int
storage_new(sd_event *event, const struct settings *settings, int fresh, storage_fatal *on_fatal,
            void *data, struct storage **ret_storage, char **error_r)
{
    struct storage *storage = g_new0(struct storage, 1);
    storage->on_fatal = on_fatal;
    storage->data = data;
    storage->wake = -1;
    g_mutex_init(&storage->lock);
    g_cond_init(&storage->more);
    struct patience *patience = patience_new();
    int rc = state_open(settings, fresh, &storage->state, error_r);
    patience_free(patience);
    if (rc == 0) {
        storage->epoch = state_epoch(storage->state);
        rc = start(storage, event);
        if (rc < 0) {
            *error_r = g_strdup_printf("the storage thread cannot start: %s", g_strerror(-rc));
        }
    }
    if (rc < 0) {
        storage_free(storage);
        return rc;
    }
    *ret_storage = storage;
    return 0;
}

static void
thread_end(struct storage *storage)
{
    g_mutex_lock(&storage->lock);
    storage->stop = TRUE;
    g_cond_signal(&storage->more);
    g_mutex_unlock(&storage->lock);
    g_thread_join(storage->thread);
}

static void
waiting_cancel(struct storage *storage)
{
    struct job *job;
    while ((job = job_choose(storage)) != NULL) {
        job->result = storage->fatal < 0 ? storage->fatal : -ECANCELED;
        g_queue_push_tail(&storage->finished, job);
    }
}

void
storage_free(struct storage *storage)
{
    if (storage == NULL) {
        return;
    }
    if (storage->thread != NULL) {
        thread_end(storage);
    }
    do {
        waiting_cancel(storage);
        (void)finished_deliver(storage);
    } while (!g_queue_is_empty(&storage->waiting) || !g_queue_is_empty(&storage->patient));
    if (storage->fatal < 0) {
        state_abandon(storage->state);
    }
    state_close(storage->state);
    sd_event_source_disable_unref(storage->source);
    if (storage->wake >= 0) {
        close(storage->wake);
    }
    g_mutex_clear(&storage->lock);
    g_cond_clear(&storage->more);
    g_free(storage);
}

int
storage_format(const struct storage *storage)
{
    return state_format(storage->state);
}

guint64
storage_epoch(const struct storage *storage)
{
    return storage->epoch;
}

static void
submit(struct storage *storage, GQueue *queue, storage_work *work, storage_done *done, void *data)
{
    struct job *job = g_new0(struct job, 1);
    job->work = work;
    job->done = done;
    job->data = data;
    job->since = g_get_monotonic_time();
    g_mutex_lock(&storage->lock);
    g_queue_push_tail(queue, job);
    g_cond_signal(&storage->more);
    g_mutex_unlock(&storage->lock);
}

void
storage_submit(struct storage *storage, storage_work *work, storage_done *done, void *data)
{
    submit(storage, &storage->waiting, work, done, data);
}

void
storage_submit_background(struct storage *storage, storage_work *work, storage_done *done,
                          void *data)
{
    submit(storage, &storage->patient, work, done, data);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "releaser.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "catalog.h"
#include "incident.h"
#include "log.h"
#include "release.h"

/* The mail server may start after us; then it may be away for long. */
#define RETRY_FIRST_SECONDS 5
#define RETRY_LAST_SECONDS 600

struct releaser_request {
    struct releaser *releaser; /* NULL: the releaser is gone; the storage thread had it */
    char *prefix;
    char **to;
    gint64 uid;
    gint64 asked; /* Unix seconds, when the same was asked for already; else 0 */
    gboolean keep_trying;
    releaser_done *done; /* NULL: nobody wants to know */
    void *data;
    struct release_ticket *ticket;
    enum smtp_outcome outcome;
    char *answer;
};

/* A search for releases that have not ended. */
struct look {
    struct releaser *releaser; /* NULL: gone */
    GPtrArray *keys;
};

struct releaser {
    sd_event *event;
    const struct settings *settings;
    struct storage *storage;
    GQueue waiting; /* of struct releaser_request * */
    struct releaser_request *current;
    GThread *thread; /* sends CURRENT */
    int finished;    /* eventfd: thread -> loop */
    int cancel;      /* eventfd: the thread is to end */
    sd_event_source *io;
    sd_event_source *timer;
    gint64 delay;      /* seconds */
    struct look *look; /* in the storage thread; NULL = none */
    gboolean unheard;
};

static void next_begin(struct releaser *releaser);

static void
request_free(void *p)
{
    struct releaser_request *request = p;
    release_ticket_free(request->ticket);
    g_strfreev(request->to);
    g_free(request->prefix);
    g_free(request->answer);
    g_free(request);
}

static void
request_end(struct releaser_request *request, int error, gboolean recorded)
{
    const struct releaser_result result = {
        .error = error,
        .outcome = request->outcome,
        .key = request->ticket == NULL ? NULL : request->ticket->key,
        .answer = request->answer,
        .attempt = request->ticket == NULL ? 0 : request->ticket->attempt,
        .recorded = recorded,
    };
    struct releaser *releaser = request->releaser;
    if (request->done != NULL) {
        request->done(request->data, &result);
    }
    request_free(request);
    if (releaser != NULL) {
        releaser->current = NULL;
        next_begin(releaser);
    }
}

static void
log_end(const struct releaser_request *request)
{
    static const char *const words[] = {[SMTP_ACCEPTED] = "was released",
                                        [SMTP_REFUSED] = "was not released",
                                        [SMTP_LATER] = "was not released",
                                        [SMTP_UNCERTAIN] = "may have been released"};
    log_notice("quarantine: %s %s (attempt %" G_GINT64_FORMAT
               ", %u recipient(s), user %" G_GINT64_FORMAT "): %s",
               request->ticket->key, words[request->outcome], request->ticket->attempt,
               request->ticket->recipients->len, request->uid, request->answer);
}

static int
end_work(struct state *state, void *data)
{
    const struct releaser_request *request = data;
    return release_end(state, request->ticket, request->outcome, request->answer,
                       request->keep_trying, request->uid);
}

static void
on_ended(void *data, int result)
{
    struct releaser_request *request = data;
    log_end(request);
    if (result < 0) {
        log_err("quarantine: %s: the end of its release could not be recorded, so it will be done "
                "again: %s",
                request->ticket->key, g_strerror(-result));
    }
    request_end(request, 0, result == 0);
}

static void *
send_run(void *data)
{
    const uint64_t one = 1;
    struct releaser *releaser = data;
    struct releaser_request *request = releaser->current;
    const struct smtp_message message = {.socket = releaser->settings->release_socket,
                                         .sender = request->ticket->sender,
                                         .recipients = request->ticket->recipients,
                                         .parameters = request->ticket->parameters,
                                         .recipient_parameters =
                                             request->ticket->recipient_parameters,
                                         .fd = request->ticket->fd,
                                         .from = request->ticket->from,
                                         .cancel = releaser->cancel};
    request->outcome = smtp_deliver(&message, &request->answer);
    ssize_t n = write(releaser->finished, &one, sizeof one);
    (void)n;
    return NULL;
}

static int
on_finished(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct releaser *releaser = data;
    uint64_t count;
    (void)source;
    (void)events;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
    if (releaser->thread != NULL) {
        g_thread_join(g_steal_pointer(&releaser->thread));
        releaser->unheard = releaser->current->outcome == SMTP_LATER;
        storage_submit(releaser->storage, end_work, on_ended, releaser->current);
    }
    return 0;
}

/* Two who release the same at the same time mean one delivery. */
static int
begin_work(struct state *state, void *data)
{
    struct releaser_request *request = data;
    struct catalog_found found;
    if (request->asked > 0 && catalog_find(state_db(state), request->prefix, &found) == 0 &&
        found.released >= request->asked) {
        return -EALREADY;
    }
    return release_begin(state, request->prefix, request->to, request->uid, &request->ticket);
}

static void
on_begun(void *data, int result)
{
    struct releaser_request *request = data;
    struct releaser *releaser = request->releaser;
    if (releaser == NULL || result < 0) {
        request_end(request, releaser == NULL ? -ECANCELED : result, FALSE);
        return;
    }
    releaser->thread = g_thread_try_new("release", send_run, releaser, NULL);
    if (releaser->thread == NULL) {
        request->outcome = SMTP_LATER;
        request->answer = g_strdup("no thread could be started");
        storage_submit(releaser->storage, end_work, on_ended, request);
    }
}

static void
next_begin(struct releaser *releaser)
{
    if (releaser->current == NULL) {
        releaser->current = g_queue_pop_head(&releaser->waiting);
        if (releaser->current != NULL) {
            storage_submit(releaser->storage, begin_work, on_begun, releaser->current);
        }
    }
}

static struct releaser_request *
submit(struct releaser *releaser, const char *prefix)
{
    struct releaser_request *request = g_new0(struct releaser_request, 1);
    request->releaser = releaser;
    request->prefix = g_strdup(prefix);
    request->uid = INCIDENT_NOBODY;
    g_queue_push_tail(&releaser->waiting, request);
    return request;
}

static gboolean
is_same(const struct releaser_request *a, const struct releaser_request *b)
{
    if (!g_str_has_prefix(a->prefix, b->prefix) && !g_str_has_prefix(b->prefix, a->prefix)) {
        return FALSE;
    }
    if (a->to == NULL || b->to == NULL) {
        return a->to == b->to;
    }
    return g_strv_equal((const char *const *)a->to, (const char *const *)b->to);
}

static gboolean
is_asked_for(const struct releaser *releaser, const struct releaser_request *request)
{
    gboolean same = releaser->current != NULL && is_same(releaser->current, request);
    for (const GList *l = releaser->waiting.head; l != NULL && !same; l = l->next) {
        same = l->data != request && is_same(l->data, request);
    }
    return same;
}

struct releaser_request *
releaser_submit(struct releaser *releaser, const char *prefix, char **to, gint64 uid,
                releaser_done *done, void *data)
{
    struct releaser_request *request = submit(releaser, prefix);
    request->to = g_strdupv(to);
    request->uid = uid;
    request->asked = is_asked_for(releaser, request) ? g_get_real_time() / G_USEC_PER_SEC : 0;
    request->done = done;
    request->data = data;
    next_begin(releaser);
    return request;
}

gboolean
releaser_is_unheard(const struct releaser *releaser)
{
    return releaser->unheard;
}

void
releaser_forget(struct releaser_request *request)
{
    request->done = NULL;
}

static int
look_work(struct state *state, void *data)
{
    struct look *look = data;
    return release_unfinished(state, &look->keys);
}

static void
timer_arm(struct releaser *releaser)
{
    (void)sd_event_source_set_time_relative(releaser->timer,
                                            (uint64_t)releaser->delay * G_USEC_PER_SEC);
    (void)sd_event_source_set_enabled(releaser->timer, SD_EVENT_ONESHOT);
}

static void
on_looked(void *data, int result)
{
    struct look *look = data;
    struct releaser *releaser = look->releaser;
    guint n = look->keys == NULL ? 0 : look->keys->len;
    if (releaser != NULL) {
        releaser->look = NULL;
        for (guint i = 0; i < n && result == 0; i++) {
            submit(releaser, g_ptr_array_index(look->keys, i))->keep_trying = TRUE;
        }
        releaser->delay =
            n == 0 ? RETRY_FIRST_SECONDS * 4 : MIN(releaser->delay * 2, RETRY_LAST_SECONDS);
        timer_arm(releaser);
        next_begin(releaser);
    }
    if (look->keys != NULL) {
        g_ptr_array_unref(look->keys);
    }
    g_free(look);
}

/* While one is under way it may be among the unfinished: later then. */
static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    struct releaser *releaser = data;
    (void)source;
    (void)usec;
    if (releaser->current != NULL || releaser->look != NULL) {
        timer_arm(releaser);
        return 0;
    }
    releaser->look = g_new0(struct look, 1);
    releaser->look->releaser = releaser;
    storage_submit_background(releaser->storage, look_work, on_looked, releaser->look);
    return 0;
}

static int
start(struct releaser *releaser)
{
    releaser->finished = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    releaser->cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (releaser->finished < 0 || releaser->cancel < 0) {
        return -errno;
    }
    int rc = sd_event_add_io(releaser->event, &releaser->io, releaser->finished, EPOLLIN,
                             on_finished, releaser);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(releaser->event, &releaser->timer, CLOCK_MONOTONIC,
                                        (uint64_t)releaser->delay * G_USEC_PER_SEC, 0, on_timer,
                                        releaser);
    }
    return MIN(rc, 0);
}

int
releaser_new(sd_event *event, const struct settings *settings, struct storage *storage,
             struct releaser **ret)
{
    struct releaser *releaser = g_new0(struct releaser, 1);
    releaser->event = event;
    releaser->settings = settings;
    releaser->storage = storage;
    releaser->finished = -1;
    releaser->cancel = -1;
    releaser->delay = RETRY_FIRST_SECONDS;
    int rc = start(releaser);
    if (rc < 0) {
        releaser_free(releaser);
        return rc;
    }
    *ret = releaser;
    return 0;
}

/* What the storage thread has is freed when that is through with it. */
static void
current_leave(struct releaser *releaser)
{
    const uint64_t one = 1;
    struct releaser_request *request = releaser->current;
    if (request == NULL) {
        return;
    }
    request->releaser = NULL;
    request->done = NULL;
    if (releaser->thread != NULL) {
        ssize_t n = write(releaser->cancel, &one, sizeof one);
        (void)n;
        g_thread_join(releaser->thread);
        request->keep_trying = TRUE;
        storage_submit(releaser->storage, end_work, on_ended, request);
    }
}

static void
fd_close(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void
releaser_free(struct releaser *releaser)
{
    if (releaser == NULL) {
        return;
    }
    current_leave(releaser);
    if (releaser->look != NULL) {
        releaser->look->releaser = NULL;
    }
    g_queue_clear_full(&releaser->waiting, request_free);
    sd_event_source_disable_unref(releaser->io);
    sd_event_source_disable_unref(releaser->timer);
    fd_close(releaser->finished);
    fd_close(releaser->cancel);
    g_free(releaser);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER (64U << 10)

struct digester {
    GThreadPool *thread;
    GAsyncQueue *finished; /* of struct digest * */
    int bell;              /* eventfd: something is in FINISHED */
    sd_event_source *source;
};

struct digest {
    struct digester *digester;
    int fd; /* own */
    digest_done *done;
    void *data;
    gint cancelled; /* atomic */
    int result;
    guint8 key[LRU_KEY];
};

static int
digest_read(int fd, EVP_MD_CTX *context, gint *cancelled)
{
    g_autofree guint8 *buffer = g_malloc(BUFFER);
    off_t at = 0;
    for (;;) {
        ssize_t n = pread(fd, buffer, BUFFER, at);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return 0;
        }
        if (n > 0 && EVP_DigestUpdate(context, buffer, (size_t)n) != 1) {
            return -EIO;
        }
        at += MAX(n, 0);
        if (cancelled != NULL && g_atomic_int_get(cancelled)) {
            return -ECANCELED;
        }
    }
}

static int
digest_make(int fd, guint8 ret_key[LRU_KEY], gint *cancelled)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int rc = context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1 ? -ENOMEM : 0;
    if (rc == 0) {
        rc = digest_read(fd, context, cancelled);
    }
    if (rc == 0 && EVP_DigestFinal_ex(context, ret_key, NULL) != 1) {
        rc = -EIO;
    }
    EVP_MD_CTX_free(context);
    return rc;
}

static int
digest_now(int fd, guint8 ret_key[LRU_KEY])
{
    return digest_make(fd, ret_key, NULL);
}

static void
digest_free(struct digest *digest)
{
    close(digest->fd);
    g_free(digest);
}

/* In the thread. */
static void
work(void *task, void *data)
{
    const guint64 one = 1;
    struct digest *digest = task;
    struct digester *digester = data;
    digest->result = digest_make(digest->fd, digest->key, &digest->cancelled);
    g_async_queue_push(digester->finished, digest);
    (void)!write(digester->bell, &one, sizeof one);
}

static int
on_bell(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct digester *digester = data;
    guint64 count;
    (void)source;
    (void)revents;
    (void)!read(fd, &count, sizeof count);
    for (struct digest *digest; (digest = g_async_queue_try_pop(digester->finished)) != NULL;) {
        if (!g_atomic_int_get(&digest->cancelled)) {
            digest->done(digest->data, digest->result == 0 ? digest->key : NULL);
        }
        digest_free(digest);
    }
    return 0;
}

int
digester_new(sd_event *event, struct digester **ret)
{
    struct digester *digester = g_new0(struct digester, 1);
    digester->finished = g_async_queue_new();
    digester->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = digester->bell < 0 ? -errno
                                : sd_event_add_io(event, &digester->source, digester->bell, EPOLLIN,
                                                  on_bell, digester);
    if (rc >= 0) {
        digester->thread = g_thread_pool_new(work, digester, 1, FALSE, NULL);
    }
    if (rc < 0) {
        digester_free(digester);
        return rc;
    }
    *ret = digester;
    return 0;
}

void
digester_free(struct digester *digester)
{
    if (digester == NULL) {
        return;
    }
    if (digester->thread != NULL) {
        g_thread_pool_free(digester->thread, FALSE, TRUE);
    }
    for (struct digest *digest; (digest = g_async_queue_try_pop(digester->finished)) != NULL;) {
        digest_free(digest);
    }
    g_async_queue_unref(digester->finished);
    sd_event_source_disable_unref(digester->source);
    if (digester->bell >= 0) {
        close(digester->bell);
    }
    g_free(digester);
}

struct digest *
digest_start(struct digester *digester, int fd, digest_done *done, void *data)
{
    guint8 key[LRU_KEY];
    struct stat st;
    int own = -1;
    if (fstat(fd, &st) < 0 || st.st_size <= DIGEST_NOW_MAX ||
        (own = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        done(data, digest_now(fd, key) == 0 ? key : NULL);
        return NULL;
    }
    struct digest *digest = g_new0(struct digest, 1);
    digest->digester = digester;
    digest->fd = own;
    digest->done = done;
    digest->data = data;
    g_thread_pool_push(digester->thread, digest, NULL);
    return digest;
}

void
digest_cancel(struct digest *digest)
{
    if (digest != NULL) {
        g_atomic_int_set(&digest->cancelled, 1);
    }
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "durable.h"
#include "text.h"

/* Header lines come one by one and are short: they are gathered before they are written. */
#define GATHER_SIZE 16384U

struct spool {
    struct spool_budget *budget;
    guint64 size_limit;
    guint64 size;
    guint64 reserved; /* taken, for what is still to come */
    guint64 held;     /* taken, for what is not in here */
    int fd;
    EVP_MD_CTX *hash;
    gboolean in_body;
    guint64 body_from;
    char *body_hash;
    gsize gathered;
    guint8 *gather; /* GATHER_SIZE bytes until the spool is sealed */
};

gboolean
spool_budget_has(const struct spool_budget *budget, guint64 bytes)
{
    return budget->used <= budget->limit && bytes <= budget->limit - budget->used;
}

gboolean
spool_budget_take(struct spool_budget *budget, guint64 bytes)
{
    if (!spool_budget_has(budget, bytes)) {
        return FALSE;
    }
    budget->used += bytes;
    return TRUE;
}

void
spool_budget_give(struct spool_budget *budget, guint64 bytes)
{
    g_assert(bytes <= budget->used);
    budget->used -= bytes;
}

struct spool *
spool_new(struct spool_budget *budget, guint64 size_limit)
{
    g_autoptr(spool_t) spool = g_new0(struct spool, 1);
    spool->budget = budget;
    spool->size_limit = size_limit;
    spool->fd = memfd_create("postern-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (spool->fd < 0) {
        return NULL;
    }
    spool->hash = EVP_MD_CTX_new();
    if (spool->hash == NULL || EVP_DigestInit_ex(spool->hash, EVP_sha256(), NULL) != 1) {
        errno = ENOMEM;
        return NULL;
    }
    spool->gather = g_malloc(GATHER_SIZE);
    return g_steal_pointer(&spool);
}

void
spool_free(struct spool *spool)
{
    if (spool == NULL) {
        return;
    }
    spool_budget_give(spool->budget, spool->size + spool->reserved + spool->held);
    if (spool->fd >= 0) {
        close(spool->fd);
    }
    EVP_MD_CTX_free(spool->hash);
    g_free(spool->body_hash);
    g_free(spool->gather);
    g_free(spool);
}

int
spool_reserve(struct spool *spool, guint64 bytes)
{
    if (!spool_budget_take(spool->budget, bytes)) {
        return -ENOBUFS;
    }
    spool->reserved += bytes;
    return 0;
}

int
spool_hold(struct spool *spool, guint64 bytes)
{
    if (!spool_budget_take(spool->budget, bytes)) {
        return -ENOBUFS;
    }
    spool->held += bytes;
    return 0;
}

static int
flush(struct spool *spool)
{
    int rc = durable_write_all(spool->fd, spool->gather, spool->gathered);
    spool->gathered = 0;
    return rc;
}

static int
gather(struct spool *spool, const void *data, gsize len)
{
    if (len > GATHER_SIZE - spool->gathered) {
        int rc = flush(spool);
        if (rc < 0) {
            return rc;
        }
    }
    if (len > GATHER_SIZE) {
        return durable_write_all(spool->fd, data, len);
    }
    memcpy(spool->gather + spool->gathered, data, len);
    spool->gathered += len;
    return 0;
}

int
spool_append(struct spool *spool, const void *data, gsize len)
{
    if (spool->gather == NULL) {
        return -EPERM;
    }
    if (len > spool->size_limit - spool->size) {
        return -EFBIG;
    }
    guint64 from_reserved = MIN(len, spool->reserved);
    if (len > from_reserved && !spool_budget_take(spool->budget, len - from_reserved)) {
        return -ENOBUFS;
    }
    spool->reserved -= from_reserved;
    spool->size += len;
    if (len == 0) {
        return 0;
    }
    if (spool->in_body && EVP_DigestUpdate(spool->hash, data, len) != 1) {
        return -EIO;
    }
    return gather(spool, data, len);
}

void
spool_body_begins(struct spool *spool)
{
    spool->in_body = TRUE;
    spool->body_from = spool->size;
}

int
spool_seal(struct spool *spool)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int rc = flush(spool);
    if (rc < 0) {
        return rc;
    }
    if (fcntl(spool->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
        0) {
        return -errno;
    }
    if (EVP_DigestFinal_ex(spool->hash, digest, &len) != 1) {
        return -EIO;
    }
    spool->body_hash = text_hex(digest, len);
    g_clear_pointer(&spool->gather, g_free);
    spool_budget_give(spool->budget, spool->reserved);
    spool->reserved = 0;
    return 0;
}

guint64
spool_size(const struct spool *spool)
{
    return spool->size;
}

int
spool_fd(const struct spool *spool)
{
    return spool->fd;
}

guint64
spool_body_from(const struct spool *spool)
{
    return spool->in_body ? spool->body_from : spool->size;
}

const char *
spool_body_hash(const struct spool *spool)
{
    return spool->body_hash;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "inflated.h"

#include <string.h>
#include <openssl/evp.h>

#include "mime.h"
#include "streams.h"

static bool
is_known(const struct inflated *inflated, const struct mime_leaf *new)
{
    for (guint i = 0; i < inflated->leaves->len; i++) {
        const struct mime_leaf *leaf = g_ptr_array_index(inflated->leaves, i);
        if (leaf->size == new->size && memcmp(leaf->sha256, new->sha256, sizeof new->sha256) == 0) {
            return true;
        }
    }
    return false;
}

static void
add(struct inflated *inflated, GByteArray *bytes, const char *path)
{
    struct mime_leaf new = {.size = bytes->len};
    EVP_Digest(bytes->data, bytes->len, new.sha256, NULL, EVP_sha256(), NULL);
    if (is_known(inflated, &new)) {
        g_byte_array_unref(bytes);
        return;
    }
    inflated->room -= bytes->len;
    new.path = g_strdup(path);
    new.data = g_byte_array_free(bytes, FALSE);
    struct mime_leaf *leaf = g_new(struct mime_leaf, 1);
    *leaf = new;
    g_ptr_array_add(inflated->leaves, leaf);
}

void
inflated_add(struct inflated *inflated, const struct clam_layer *layer, const char *path)
{
    guint64 limit = MIN(inflated->file_limit, inflated->room);
    if (inflated->leaves == NULL || layer->data == NULL || layer->derived) {
        return;
    }
    GByteArray *bytes = streams_inflate(layer->data, layer->size, limit + 1);
    if (bytes == NULL) {
        return;
    }
    if (bytes->len > limit || inflated->leaves->len >= MIME_LEAVES_MAX) {
        facts_add_unscanned(inflated->facts, CAUSE_LIMIT, "deflated stream", path);
        g_byte_array_unref(bytes);
        return;
    }
    add(inflated, bytes, path);
}

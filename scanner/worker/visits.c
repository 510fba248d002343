/* SPDX-License-Identifier: GPL-2.0-only */
#include "visits.h"

#include <string.h>
#include <openssl/evp.h>

static bool
is_body_text(const struct mime_leaf *leaf, const struct facts *facts)
{
    const struct part *part = facts_find_part(facts, leaf->path);
    return part != NULL && part->filename == NULL && g_str_has_prefix(part->type, "text/");
}

/* What is no text has its CRs anywhere, and NULs. */
static bool
is_plain(const struct mime_leaf *leaf)
{
    const unsigned char *data = leaf->data;
    for (size_t i = 0; i < leaf->size; i++) {
        if (data[i] == '\0' || (data[i] == '\r' && (i + 1 == leaf->size || data[i + 1] != '\n'))) {
            return false;
        }
    }
    return true;
}

/* libclamav adds one to each part of a multipart. */
static size_t
without_line_ends(const unsigned char *data, size_t size)
{
    while (size > 0 && data[size - 1] == '\n') {
        size--;
    }
    return size;
}

static void
note_bare(struct mime_leaf *leaf)
{
    g_autofree unsigned char *bare = g_malloc(leaf->size);
    size_t size = 0;
    for (size_t i = 0; i < leaf->size; i++) {
        bare[size] = leaf->data[i];
        size += leaf->data[i] != '\r';
    }
    size = without_line_ends(bare, size);
    if (size > 0) {
        EVP_Digest(bare, size, leaf->bare_sha256, NULL, EVP_sha256(), NULL);
        leaf->bare_size = size;
    }
}

void
visits_prepare(GPtrArray *leaves, const struct facts *facts)
{
    for (guint i = 0; i < leaves->len; i++) {
        struct mime_leaf *leaf = g_ptr_array_index(leaves, i);
        if (leaf->size > 0 && is_body_text(leaf, facts) && is_plain(leaf)) {
            note_bare(leaf);
        }
    }
}

/* Sums of a layer, made when they are needed first. */
struct sums {
    const struct clam_layer *layer;
    size_t bare_size; /* without the line ends at its end */
    unsigned char *sha256;
    bool hashed;
    unsigned char bare_sha256[32];
    bool bare_hashed;
};

static bool
is_whole(struct sums *sums, const struct mime_leaf *leaf)
{
    if (leaf->size != sums->layer->size) {
        return false;
    }
    if (!sums->hashed) {
        EVP_Digest(sums->layer->data, sums->layer->size, sums->sha256, NULL, EVP_sha256(), NULL);
        sums->hashed = true;
    }
    return memcmp(leaf->sha256, sums->sha256, sizeof leaf->sha256) == 0;
}

static bool
is_bare(struct sums *sums, const struct mime_leaf *leaf)
{
    if (leaf->bare_size == 0 || leaf->bare_size != sums->bare_size) {
        return false;
    }
    if (!sums->bare_hashed) {
        EVP_Digest(sums->layer->data, sums->bare_size, sums->bare_sha256, NULL, EVP_sha256(), NULL);
        sums->bare_hashed = true;
    }
    return memcmp(leaf->bare_sha256, sums->bare_sha256, sizeof leaf->bare_sha256) == 0;
}

struct mime_leaf *
visits_find(GPtrArray *leaves, const struct clam_layer *layer, unsigned char sha256[32],
            bool *ret_hashed)
{
    struct mime_leaf *found = NULL;
    if (layer->data == NULL) {
        return NULL;
    }
    struct sums sums = {
        .layer = layer, .bare_size = without_line_ends(layer->data, layer->size), .sha256 = sha256};
    for (guint i = 0; i < leaves->len; i++) {
        struct mime_leaf *leaf = g_ptr_array_index(leaves, i);
        if (is_whole(&sums, leaf) || is_bare(&sums, leaf)) {
            leaf->visited = true;
            found = found == NULL || found->shown ? leaf : found;
        }
    }
    if (found != NULL) {
        found->shown = true;
    }
    *ret_hashed = sums.hashed;
    return found;
}

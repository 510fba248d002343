/* SPDX-License-Identifier: GPL-2.0-only */
#include "visits.h"

#include <string.h>

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

/* How much of a plain text remains without CRs and the last line ends. */
static size_t
count_bare(const struct mime_leaf *leaf)
{
    const unsigned char *end = leaf->data + leaf->size;
    size_t returns = 0;
    while (end > leaf->data && (end[-1] == '\n' || end[-1] == '\r')) {
        end--;
    }
    for (const unsigned char *p = leaf->data; (p = memchr(p, '\r', (size_t)(end - p))) != NULL;
         p++) {
        returns++;
    }
    return (size_t)(end - leaf->data) - returns;
}

void
visits_prepare(GPtrArray *leaves)
{
    for (guint i = 0; i < leaves->len; i++) {
        struct mime_leaf *leaf = g_ptr_array_index(leaves, i);
        if (leaf->size > 0 && leaf->is_body && is_plain(leaf)) {
            leaf->bare_size = count_bare(leaf);
        }
    }
}

static bool
is_whole(const struct mime_leaf *leaf, const struct clam_layer *layer)
{
    return leaf->size == layer->size && leaf->size > 0 &&
           memcmp(leaf->data, layer->data, leaf->size) == 0;
}

/* SIZE: of the layer, without the line ends at its end. */
static bool
is_bare(const struct mime_leaf *leaf, const struct clam_layer *layer, size_t size)
{
    if (leaf->bare_size == 0 || leaf->bare_size != size) {
        return false;
    }
    for (size_t i = 0, at = 0; i < size; i++, at++) {
        at += leaf->data[at] == '\r';
        if (leaf->data[at] != layer->data[i]) {
            return false;
        }
    }
    return true;
}

struct mime_leaf *
visits_find(GPtrArray *leaves, const struct clam_layer *layer, bool *ret_whole)
{
    struct mime_leaf *found = NULL;
    if (layer->data == NULL) {
        return NULL;
    }
    size_t bare_size = without_line_ends(layer->data, layer->size);
    for (guint i = 0; i < leaves->len; i++) {
        struct mime_leaf *leaf = g_ptr_array_index(leaves, i);
        bool whole = is_whole(leaf, layer);
        if (!whole && !is_bare(leaf, layer, bare_size)) {
            continue;
        }
        leaf->visited = true;
        if (found == NULL || found->shown) {
            found = leaf;
            *ret_whole = whole;
        }
    }
    if (found != NULL) {
        found->shown = true;
    }
    return found;
}

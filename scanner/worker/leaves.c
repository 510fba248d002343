/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "leaves.h"

#include <stdint.h>
#include <string.h>
#include <openssl/evp.h>

static void
leaf_free(void *p)
{
    struct mime_leaf *leaf = p;
    g_free(leaf->path);
    if (!leaf->lent) {
        g_free(leaf->data);
    }
    g_free(leaf);
}

GPtrArray *
leaves_list_new(void)
{
    return g_ptr_array_new_with_free_func(leaf_free);
}

struct leaves
leaves_begin(GPtrArray *list, guint64 room)
{
    guint64 used = 0;
    for (guint i = 0; i < list->len; i++) {
        used += ((const struct mime_leaf *)g_ptr_array_index(list, i))->size;
    }
    return (struct leaves){.list = list, .room = room > used ? room - used : 0};
}

void
leaves_read_again(struct leaves *leaves, const char *path)
{
    leaves->another = path;
    leaves->found = leaves_count_in(leaves->list, path);
}

bool
leaves_are_full(const struct leaves *leaves)
{
    return leaves->list->len >= MIME_LEAVES_MAX;
}

static bool
is_known(const struct leaves *leaves, const struct mime_leaf *leaf)
{
    for (guint i = 0; i < leaves->list->len; i++) {
        const struct mime_leaf *other = g_ptr_array_index(leaves->list, i);
        if (other->size == leaf->size &&
            memcmp(other->sha256, leaf->sha256, sizeof leaf->sha256) == 0) {
            return true;
        }
    }
    return false;
}

struct mime_leaf *
leaves_add(struct leaves *leaves, const char *path, GByteArray *bytes, struct facts *facts)
{
    bool full = leaves_are_full(leaves);
    if (full || bytes->len > leaves->room) {
        facts_add_unscanned(facts, CAUSE_LIMIT,
                            full ? "number of MIME parts" : "size of MIME parts", path);
        g_byte_array_unref(bytes);
        return NULL;
    }
    struct mime_leaf *leaf = g_new0(struct mime_leaf, 1);
    leaf->size = bytes->len;
    leaf->data = g_byte_array_free(bytes, FALSE);
    EVP_Digest(leaf->data, leaf->size, leaf->sha256, NULL, EVP_sha256(), NULL);
    if (leaves->another != NULL && (leaf->size == 0 || is_known(leaves, leaf))) {
        leaf_free(leaf);
        return NULL;
    }
    leaves->room -= leaf->size;
    leaf->path = leaves->another != NULL
                     ? g_strdup_printf("%s/%u", leaves->another, ++leaves->found)
                     : g_strdup(path);
    g_ptr_array_add(leaves->list, leaf);
    return leaf;
}

struct mime_leaf *
leaves_lend(struct leaves *leaves, const char *path, const unsigned char *data, size_t size,
            struct facts *facts)
{
    if (leaves_are_full(leaves)) {
        facts_add_unscanned(facts, CAUSE_LIMIT, "number of MIME parts", path);
        return NULL;
    }
    struct mime_leaf *leaf = g_new0(struct mime_leaf, 1);
    leaf->lent = true;
    leaf->size = size;
    leaf->data = (unsigned char *)(uintptr_t)data;
    EVP_Digest(data, size, leaf->sha256, NULL, EVP_sha256(), NULL);
    leaf->path = g_strdup(path);
    g_ptr_array_add(leaves->list, leaf);
    return leaf;
}

unsigned
leaves_count_in(const GPtrArray *list, const char *path)
{
    unsigned n = 0;
    size_t len = strlen(path);
    for (guint i = 0; i < list->len; i++) {
        const struct mime_leaf *leaf = g_ptr_array_index(list, i);
        n += strncmp(leaf->path, path, len) == 0 && leaf->path[len] == '/' &&
             strchr(leaf->path + len + 1, '/') == NULL;
    }
    return n;
}

void
leaves_add_mail(const unsigned char *data, size_t len, const char *path, GPtrArray *list,
                struct facts *facts)
{
    struct leaves all = leaves_begin(list, LEAVES_BYTES_IN_ARCHIVES);
    GByteArray *bytes = g_byte_array_new();
    struct mime_leaf *leaf =
        leaves_add(&all, path, g_byte_array_append(bytes, data, (guint)len), facts);
    if (leaf != NULL) {
        leaf->visited = true;
        leaf->is_mail = true;
    }
}

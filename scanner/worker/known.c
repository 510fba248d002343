/* SPDX-License-Identifier: GPL-2.0-only */
#include "known.h"

#include <string.h>
#include <glib.h>

#include "text.h"

/* A part that was asked for and is scanned now. */
struct asked {
    char *key;
    char *path;
};

static struct {
    known_ask *ask;
    void *data;
    struct facts *facts; /* NULL = no scan is going on, or it does not ask */
    GPtrArray *scanned;  /* of struct asked * */
    unsigned asks;
    unsigned mails; /* the layers 0 .. mails - 1 around the current one are mails */
} known;

static void
asked_free(void *p)
{
    struct asked *asked = p;
    g_free(asked->key);
    g_free(asked->path);
    g_free(asked);
}

void
known_set(known_ask *ask, void *data)
{
    known.ask = ask;
    known.data = data;
}

void
known_begin(struct facts *facts)
{
    known.facts = known.ask != NULL ? facts : NULL;
    known.scanned = g_ptr_array_new_with_free_func(asked_free);
    known.asks = 0;
    known.mails = 0;
}

/* All layers around this one are mails, and it is none itself. */
static bool
stands_in_mails(const struct clam_layer *layer)
{
    bool is_mail = g_strcmp0(layer->type, "CL_TYPE_MAIL") == 0 && !layer->derived;
    known.mails = MIN(known.mails, layer->level);
    bool in_mails = known.mails == layer->level;
    if (in_mails && is_mail) {
        known.mails++;
    }
    return in_mails && !is_mail;
}

/*
 * The bytes, what libclamav takes them for, and how deep they lie: all that a signature may ask.
 * The layer's bytes are the leaf's, or follow from these and the layer's size (visits.h).
 */
static char *
make_key(const struct clam_layer *layer, const struct mime_leaf *leaf, bool whole)
{
    g_autofree char *hash = text_hex(leaf->sha256, sizeof leaf->sha256);
    g_autofree char *text =
        g_strdup_printf("%s %d %zu %u %s", hash, whole, layer->size, layer->level, layer->type);
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}

/* From PART's path to where it stands below FROM: "" itself, "/3/1" in it; NULL elsewhere. */
static const char *
path_below(const char *path, const char *from)
{
    size_t len = strlen(from);
    return strncmp(path, from, len) == 0 && (path[len] == '\0' || path[len] == '/') ? path + len
                                                                                    : NULL;
}

/* Of the part itself only what its content says: the rest belongs to the mail that it stands in. */
static struct facts *
describe(const char *path)
{
    char nothing[] = "";
    struct facts *inside = facts_new();
    inside->complete = true;
    for (guint i = 0; i < known.facts->parts->len; i++) {
        const struct part *part = g_ptr_array_index(known.facts->parts, i);
        const char *below = path_below(part->path, path);
        if (below == NULL) {
            continue;
        }
        struct part copy = *part;
        g_autofree char *relative = g_strdup(*below == '/' ? below + 1 : "");
        copy.path = relative;
        copy.from = copy.body_from = copy.to = 0;
        copy.detections = copy.limits = copy.defects = NULL;
        if (*below == '\0') {
            copy.type = nothing;
            copy.filename = NULL;
            copy.signed_ = false;
        }
        facts_add_part(inside, &copy);
    }
    return inside;
}

/* What the two others said of PATH goes to where libclamav's callbacks would have put it. */
static void
adopt(const struct facts *inside, const char *path)
{
    for (guint i = 0; i < inside->parts->len; i++) {
        const struct part *part = g_ptr_array_index(inside->parts, i);
        g_autofree char *full = g_strdup_printf("%s/%s", path, part->path);
        if (*part->path != '\0' && facts_find_part(known.facts, full) == NULL) {
            struct part copy = *part;
            copy.path = full;
            facts_add_part(known.facts, &copy);
        } else if (part->macros) {
            facts_mark_macros(known.facts, path);
        }
    }
}

bool
known_enter(const struct clam_layer *layer, const struct mime_leaf *leaf, bool whole)
{
    if (known.facts == NULL || !stands_in_mails(layer) || layer->derived || leaf == NULL ||
        *leaf->path == '\0' || layer->size < KNOWN_SIZE_MIN || known.asks >= KNOWN_ASKS_MAX) {
        return false;
    }
    known.asks++;
    struct asked *asked = g_new0(struct asked, 1);
    asked->key = make_key(layer, leaf, whole);
    asked->path = g_strdup(leaf->path);
    g_autoptr(facts_t) inside = known.ask(known.data, asked->key);
    if (inside == NULL) {
        g_ptr_array_add(known.scanned, asked);
        return false;
    }
    adopt(inside, leaf->path);
    asked_free(asked);
    return true;
}

json_t *
known_end(void)
{
    json_t *report = NULL;
    for (guint i = 0; known.facts != NULL && i < known.scanned->len; i++) {
        const struct asked *asked = g_ptr_array_index(known.scanned, i);
        g_autoptr(facts_t) inside = describe(asked->path);
        if (report == NULL) {
            report = json_object();
        }
        json_object_set_new(report, asked->key, facts_to_json(inside));
    }
    known.facts = NULL;
    g_clear_pointer(&known.scanned, g_ptr_array_unref);
    return report;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "objects.h"

#include <string.h>
#include <openssl/evp.h>

#include "text.h"

struct object {
    unsigned level;
    const char *path;
    unsigned depth; /* of containers around it */
    bool is_mail;   /* libclamav takes it for one */
    bool is_zip;
    unsigned children; /* that have a path of their own */
    char *member;      /* the name that it announced last */
};

static struct object *
top(const struct objects *objects)
{
    return objects->stack->len > 0
               ? &g_array_index(objects->stack, struct object, objects->stack->len - 1)
               : NULL;
}

static void
pop(struct objects *objects)
{
    g_free(top(objects)->member);
    g_array_set_size(objects->stack, objects->stack->len - 1);
}

void
objects_begin(struct objects *objects, struct facts *facts, const GPtrArray *leaves,
              GHashTable *seen)
{
    *objects = (struct objects){
        .facts = facts,
        .leaves = leaves,
        .seen = seen,
        .stack = g_array_new(FALSE, FALSE, sizeof(struct object)),
        .paths = g_ptr_array_new_with_free_func(g_free),
        .alerts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
    };
}

void
objects_end(struct objects *objects)
{
    while (top(objects) != NULL) {
        pop(objects);
    }
    g_clear_pointer(&objects->stack, g_array_unref);
    g_clear_pointer(&objects->paths, g_ptr_array_unref);
    g_clear_pointer(&objects->alerts, g_hash_table_unref);
}

/* A member's name as UTF-8, whatever it is in. */
static char *
name_decode(const char *raw, bool dos)
{
    if (g_utf8_validate(raw, -1, NULL)) {
        return g_strdup(raw);
    }
    /* APPNOTE.TXT 4.4.4, D.1: without the UTF-8 flag a ZIP's names are in code page 437. */
    char *name = g_convert(raw, -1, "UTF-8", dos ? "CP437" : "WINDOWS-1252", NULL, NULL, NULL);
    return name != NULL ? name : g_utf8_make_valid(raw, -1);
}

static const char *
base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash != NULL ? slash + 1 : name;
}

/* What libclamav calls a file that has no name: "clamav-...", for a document's streams 32 digits
 * and a number. */
static bool
is_made_up(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");
    return g_str_has_prefix(name, "clamav-") || (digits == 32 && name[digits] == '_');
}

/* The name in full if the container told it, libclamav's shortened one, or NULL. */
static char *
name_of(const struct object *parent, const struct clam_layer *layer)
{
    const char *name = layer->name;
    if (parent->member != NULL && *parent->member != '\0' &&
        (name == NULL || strcmp(base_name(parent->member), base_name(name)) == 0)) {
        name = parent->member;
    }
    if (name == NULL || *name == '\0' || is_made_up(base_name(name))) {
        return NULL;
    }
    return name_decode(name, parent->is_zip);
}

static void
describe(struct objects *objects, const struct object *parent, const struct object *object,
         const struct clam_layer *layer, const unsigned char *sha256)
{
    if (!g_hash_table_add(objects->seen, g_strdup(object->path))) {
        return;
    }
    bool full = objects->facts->parts->len >= FACTS_PARTS_MAX;
    unsigned char own[32];
    if (sha256 == NULL && !full && layer->data != NULL) {
        EVP_Digest(layer->data, layer->size, own, NULL, EVP_sha256(), NULL);
        sha256 = own;
    }
    g_autofree char *hash = sha256 != NULL ? text_hex(sha256, 32) : NULL;
    g_autofree char *filename = name_of(parent, layer);
    if (filename == NULL && hash != NULL &&
        !g_hash_table_add(objects->seen, g_strconcat(parent->path, " ", hash, NULL))) {
        return; /* libclamav goes over a document's streams more than once */
    }
    g_autofree char *true_type = clam_true_type(layer->type);
    g_autofree char *path = g_strdup(object->path);
    char type[] = "";
    const struct part part = {
        .path = path,
        .type = type,
        .true_type = true_type,
        .filename = filename,
        .size = layer->size,
        .sha256 = hash,
    };
    (void)facts_add_part(objects->facts, &part);
}

static void
set_true_type(struct objects *objects, const char *path, const char *type)
{
    struct part *part = facts_find_part(objects->facts, path);
    if (part != NULL && part->true_type == NULL) {
        part->true_type = clam_true_type(type);
    }
}

/* Text that libclamav made of a mail's part differs from the part in line ends and charset. What
 * it found in a mail beside text, and nobody else did, is an object. */
static bool
is_reading(const struct object *parent, const struct clam_layer *layer)
{
    g_autofree char *type = clam_true_type(layer->type);
    return layer->derived ||
           (parent->is_mail && parent->depth == 0 &&
            (type == NULL || strcmp(type, "text") == 0 || strcmp(type, "html") == 0 ||
             strcmp(type, "mail") == 0 || strcmp(type, "binary") == 0));
}

static bool
is_mail(const char *type)
{
    return g_strcmp0(type, "CL_TYPE_MAIL") == 0 || g_strcmp0(type, "CL_TYPE_MHTML") == 0;
}

static const char *
child_path(struct objects *objects, struct object *parent)
{
    parent->children++;
    char *path = g_strdup_printf("%s/%u", parent->path, parent->children);
    g_ptr_array_add(objects->paths, path);
    return path;
}

/* OBJECT lies in PARENT, or is another reading of it. */
static void
place_in(struct objects *objects, struct object *parent, struct object *object,
         const struct clam_layer *layer, const unsigned char *sha256)
{
    bool reading = is_reading(parent, layer);
    object->path = reading ? parent->path : child_path(objects, parent);
    object->depth = parent->depth + (reading ? 0 : 1);
    if (!reading) {
        describe(objects, parent, object, layer, sha256);
    }
}

const char *
objects_enter(struct objects *objects, const struct clam_layer *layer, const struct mime_leaf *leaf,
              const char *path, const unsigned char *sha256)
{
    while (top(objects) != NULL && top(objects)->level >= layer->level) {
        pop(objects);
    }
    struct object *parent = top(objects);
    if (parent != NULL && !parent->is_mail) {
        leaf = NULL; /* the same content, but this time as a member of something */
    }
    struct object object = {
        .level = layer->level,
        .path = leaf != NULL ? leaf->path : path,
        .is_mail = is_mail(layer->type),
        .is_zip = layer->type != NULL && strstr(layer->type, "ZIP") != NULL,
    };
    if (parent != NULL && leaf == NULL) {
        place_in(objects, parent, &object, layer, sha256);
    } else if (leaf != NULL || object.path[0] != '\0') {
        set_true_type(objects, object.path, layer->type);
    }
    if (parent == NULL || strcmp(parent->path, object.path) != 0) {
        /* Files in the middle of text are leaves: they have the first numbers. */
        object.children = leaves_count_in(objects->leaves, object.path);
    }
    g_array_append_val(objects->stack, object);
    return object.path;
}

void
objects_member(struct objects *objects, const struct clam_member *member)
{
    struct object *object = top(objects);
    if (object != NULL) {
        g_free(object->member);
        object->member = g_strdup(member->name);
    }
}

void
objects_leave(struct objects *objects, const char *alert)
{
    if (top(objects) == NULL) {
        return;
    }
    if (alert != NULL && !g_hash_table_contains(objects->alerts, alert)) {
        g_hash_table_insert(objects->alerts, g_strdup(alert),
                            (void *)(uintptr_t)top(objects)->path);
    }
    pop(objects);
}

unsigned
objects_depth(const struct objects *objects)
{
    return top(objects) != NULL ? top(objects)->depth : 0;
}

const char *
objects_path_of(const struct objects *objects, const char *name)
{
    const char *path =
        top(objects) != NULL ? top(objects)->path : g_hash_table_lookup(objects->alerts, name);
    return path != NULL ? path : "";
}

static void
list_merge(GPtrArray *from, GPtrArray **to)
{
    for (guint i = 0; from != NULL && i < from->len; i++) {
        const char *text = g_ptr_array_index(from, i);
        if (*to == NULL) {
            *to = g_ptr_array_new_with_free_func(g_free);
        }
        if ((*to)->len < FACTS_PART_LIST_MAX &&
            !g_ptr_array_find_with_equal_func(*to, text, g_str_equal, NULL)) {
            g_ptr_array_add(*to, g_strdup(text));
        }
    }
}

static void
part_merge(const struct part *from, struct part *to)
{
    if (to->true_type == NULL) {
        to->true_type = g_strdup(from->true_type);
    }
    to->encrypted |= from->encrypted;
    to->macros |= from->macros;
    list_merge(from->detections, &to->detections);
    list_merge(from->limits, &to->limits);
}

void
objects_share(struct facts *facts)
{
    g_autoptr(GHashTable) firsts = g_hash_table_new(g_str_hash, g_str_equal);
    for (int pass = 0; pass < 2; pass++) {
        for (guint i = 0; i < facts->parts->len; i++) {
            struct part *part = g_ptr_array_index(facts->parts, i);
            if (part->sha256 == NULL) {
                continue;
            }
            struct part *first = g_hash_table_lookup(firsts, part->sha256);
            if (first == NULL) {
                g_hash_table_insert(firsts, part->sha256, part);
            } else if (first != part) {
                part_merge(pass == 0 ? part : first, pass == 0 ? first : part);
            }
        }
    }
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "facts.h"

#include <string.h>

#define TEXT_MAX 1024

static const char *const verdict_names[] = {
    [VERDICT_CLEAN] = "clean",
    [VERDICT_INFECTED] = "infected",
    [VERDICT_UNSCANNED] = "not fully scanned",
    [VERDICT_ERROR] = "error",
};

static const char *const cause_names[] = {
    [CAUSE_ENCRYPTED] = "encrypted",
    [CAUSE_LIMIT] = "limit",
    [CAUSE_UNSUPPORTED] = "unsupported",
    [CAUSE_DAMAGED] = "damaged",
    [CAUSE_END_TO_END] = "end-to-end encrypted",
};

/* The index of NAME among N names, or -1. */
static int
name_index(const char *const names[], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

const char *
verdict_name(enum verdict verdict)
{
    return verdict_names[verdict];
}

bool
verdict_parse(const char *name, enum verdict *ret)
{
    int i = name_index(verdict_names, G_N_ELEMENTS(verdict_names), name);
    if (i >= 0) {
        *ret = (enum verdict)i;
    }
    return i >= 0;
}

const char *
cause_name(enum cause cause)
{
    return cause_names[cause];
}

static void
unscanned_free(void *p)
{
    struct unscanned *u = p;
    g_free(u->detail);
    g_free(u->part);
    g_free(u);
}

static void
part_free(void *p)
{
    struct part *part = p;
    g_free(part->path);
    g_free(part->type);
    g_free(part->filename);
    g_free(part->sha256);
    g_free(part);
}

struct facts *
facts_new(void)
{
    struct facts *facts = g_new0(struct facts, 1);
    facts->detections = g_ptr_array_new_with_free_func(g_free);
    facts->unscanned = g_ptr_array_new_with_free_func(unscanned_free);
    facts->faults = g_ptr_array_new_with_free_func(g_free);
    facts->parts = g_ptr_array_new_with_free_func(part_free);
    return facts;
}

void
facts_free(struct facts *facts)
{
    if (facts == NULL) {
        return;
    }
    g_ptr_array_unref(facts->detections);
    g_ptr_array_unref(facts->unscanned);
    g_ptr_array_unref(facts->faults);
    g_ptr_array_unref(facts->parts);
    g_free(facts);
}

static char *
text_limited(const char *text)
{
    g_autofree char *cut = g_strndup(text, TEXT_MAX);
    return g_utf8_make_valid(cut, -1);
}

static void
list_add_once(GPtrArray *list, const char *text)
{
    if (list->len < FACTS_LIST_MAX &&
        !g_ptr_array_find_with_equal_func(list, text, g_str_equal, NULL)) {
        g_ptr_array_add(list, text_limited(text));
    }
}

void
facts_add_detection(struct facts *facts, const char *name)
{
    list_add_once(facts->detections, name);
}

void
facts_add_fault(struct facts *facts, const char *what)
{
    list_add_once(facts->faults, what);
}

void
facts_add_unscanned(struct facts *facts, enum cause cause, const char *detail, const char *part)
{
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *known = g_ptr_array_index(facts->unscanned, i);
        if (known->cause == cause && strcmp(known->detail, detail) == 0) {
            return;
        }
    }
    if (facts->unscanned->len < FACTS_LIST_MAX) {
        struct unscanned *u = g_new0(struct unscanned, 1);
        u->cause = cause;
        u->detail = text_limited(detail);
        u->part = text_limited(part);
        g_ptr_array_add(facts->unscanned, u);
    }
}

void
facts_add_part(struct facts *facts, const struct part *part)
{
    facts->parts_total++;
    if (facts->parts->len < FACTS_PARTS_MAX) {
        struct part *copy = g_new0(struct part, 1);
        copy->path = text_limited(part->path);
        copy->type = text_limited(part->type);
        copy->filename = part->filename == NULL ? NULL : text_limited(part->filename);
        copy->size = part->size;
        copy->sha256 = g_strdup(part->sha256);
        g_ptr_array_add(facts->parts, copy);
    }
}

enum verdict
facts_verdict(const struct facts *facts)
{
    if (facts->detections->len > 0) {
        return VERDICT_INFECTED;
    }
    if (facts->faults->len > 0 || !facts->complete) {
        return VERDICT_ERROR;
    }
    if (facts->unscanned->len > 0 || facts->parts_total > facts->parts->len) {
        return VERDICT_UNSCANNED;
    }
    return VERDICT_CLEAN;
}

static json_t *
texts_to_json(const GPtrArray *texts)
{
    json_t *array = json_array();
    for (guint i = 0; i < texts->len; i++) {
        json_array_append_new(array, json_string(g_ptr_array_index(texts, i)));
    }
    return array;
}

json_t *
facts_to_json(const struct facts *facts)
{
    json_t *unscanned = json_array();
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(facts->unscanned, i);
        json_array_append_new(unscanned, json_pack("{s:s, s:s, s:s}", "cause", cause_name(u->cause),
                                                   "detail", u->detail, "part", u->part));
    }
    json_t *parts = json_array();
    for (guint i = 0; i < facts->parts->len; i++) {
        const struct part *p = g_ptr_array_index(facts->parts, i);
        json_array_append_new(parts, json_pack("{s:s, s:s, s:s*, s:I, s:s*}", "path", p->path,
                                               "type", p->type, "filename", p->filename, "size",
                                               (json_int_t)p->size, "sha256", p->sha256));
    }
    return json_pack("{s:i, s:b, s:I, s:o, s:o, s:o, s:o, s:I}", "version", FACTS_VERSION,
                     "complete", facts->complete, "scan_us", (json_int_t)facts->scan_us,
                     "detections", texts_to_json(facts->detections), "unscanned", unscanned,
                     "faults", texts_to_json(facts->faults), "parts", parts, "parts_total",
                     (json_int_t)facts->parts_total);
}

static bool
texts_from_json(json_t *array, struct facts *facts, void (*add)(struct facts *, const char *))
{
    size_t i;
    json_t *item;
    if (!json_is_array(array) || json_array_size(array) > FACTS_LIST_MAX) {
        return false;
    }
    json_array_foreach(array, i, item)
    {
        if (!json_is_string(item)) {
            return false;
        }
        add(facts, json_string_value(item));
    }
    return true;
}

static bool
unscanned_from_json(json_t *array, struct facts *facts)
{
    size_t i;
    json_t *item;
    if (!json_is_array(array) || json_array_size(array) > FACTS_LIST_MAX) {
        return false;
    }
    json_array_foreach(array, i, item)
    {
        const char *cause;
        const char *detail;
        const char *part;
        if (json_unpack_ex(item, NULL, JSON_STRICT, "{s:s, s:s, s:s}", "cause", &cause, "detail",
                           &detail, "part", &part) < 0) {
            return false;
        }
        int index = name_index(cause_names, G_N_ELEMENTS(cause_names), cause);
        if (index < 0) {
            return false;
        }
        facts_add_unscanned(facts, (enum cause)index, detail, part);
    }
    return true;
}

static bool
parts_from_json(json_t *array, struct facts *facts)
{
    size_t i;
    json_t *item;
    if (!json_is_array(array) || json_array_size(array) > FACTS_PARTS_MAX) {
        return false;
    }
    json_array_foreach(array, i, item)
    {
        struct part part = {0};
        json_int_t size;
        if (json_unpack_ex(item, NULL, JSON_STRICT, "{s:s, s:s, s?s, s:I, s?s}", "path", &part.path,
                           "type", &part.type, "filename", &part.filename, "size", &size, "sha256",
                           &part.sha256) < 0 ||
            size < 0) {
            return false;
        }
        part.size = (guint64)size;
        facts_add_part(facts, &part);
    }
    return true;
}

struct facts *
facts_from_json(json_t *json)
{
    g_autoptr(facts_t) facts = facts_new();
    int version;
    int complete;
    json_int_t scan_us;
    json_int_t total;
    json_t *detections;
    json_t *unscanned;
    json_t *faults;
    json_t *parts;
    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:i, s:b, s:I, s:o, s:o, s:o, s:o, s:I}",
                       "version", &version, "complete", &complete, "scan_us", &scan_us,
                       "detections", &detections, "unscanned", &unscanned, "faults", &faults,
                       "parts", &parts, "parts_total", &total) < 0 ||
        version != FACTS_VERSION || scan_us < 0 || total < 0 ||
        !texts_from_json(detections, facts, facts_add_detection) ||
        !texts_from_json(faults, facts, facts_add_fault) ||
        !unscanned_from_json(unscanned, facts) || !parts_from_json(parts, facts) ||
        (guint64)total < facts->parts_total) {
        return NULL;
    }
    facts->complete = complete;
    facts->scan_us = (guint64)scan_us;
    facts->parts_total = (guint64)total;
    return g_steal_pointer(&facts);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "facts.h"

#include <stdint.h>
#include <string.h>

#define SHA256_HEX 64
#define TRUE_TYPE_MAX 40

static json_t *
texts_to_json(const GPtrArray *texts)
{
    json_t *array = json_array();
    for (guint i = 0; i < texts->len; i++) {
        json_array_append_new(array, json_string(g_ptr_array_index(texts, i)));
    }
    return array;
}

static json_t *
unscanned_to_json(const GPtrArray *unscanned)
{
    json_t *array = json_array();
    for (guint i = 0; i < unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(unscanned, i);
        json_array_append_new(array, json_pack("{s:s, s:s, s:s}", "cause", cause_name(u->cause),
                                               "detail", u->detail, "part", u->part));
    }
    return array;
}

static json_t *
part_to_json(const struct part *p)
{
    const struct {
        const char *key;
        bool value;
    } flags[] = {
        {"encrypted", p->encrypted},
        {"signed", p->signed_},
        {"macros", p->macros},
    };
    const struct {
        const char *key;
        const GPtrArray *texts;
    } lists[] = {
        {"detections", p->detections},
        {"limits", p->limits},
        {"defects", p->defects},
    };
    json_t *json = json_pack("{s:s, s:s, s:s*, s:s*, s:I, s:s*}", "path", p->path, "type", p->type,
                             "true_type", p->true_type, "filename", p->filename, "size",
                             (json_int_t)p->size, "sha256", p->sha256);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (flags[i].value) {
            json_object_set_new(json, flags[i].key, json_true());
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        if (lists[i].texts != NULL && lists[i].texts->len > 0) {
            json_object_set_new(json, lists[i].key, texts_to_json(lists[i].texts));
        }
    }
    if (p->to > 0) {
        json_object_set_new(json, "range",
                            json_pack("[I, I, I]", (json_int_t)p->from, (json_int_t)p->body_from,
                                      (json_int_t)p->to));
    }
    return json;
}

json_t *
facts_to_json(const struct facts *facts)
{
    json_t *parts = json_array();
    for (guint i = 0; i < facts->parts->len; i++) {
        json_array_append_new(parts, part_to_json(g_ptr_array_index(facts->parts, i)));
    }
    return json_pack("{s:i, s:b, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "version", FACTS_VERSION,
                     "complete", facts->complete, "scan_us", (json_int_t)facts->scan_us,
                     "detections", texts_to_json(facts->detections), "unscanned",
                     unscanned_to_json(facts->unscanned), "faults", texts_to_json(facts->faults),
                     "defects", texts_to_json(facts->defects), "parts", parts, "parts_total",
                     (json_int_t)facts->parts_total);
}

/* The texts of ARRAY in a new list; NULL when it is no array of at most MAX texts. */
static GPtrArray *
texts_from_json(const json_t *array, size_t max)
{
    size_t i;
    const json_t *item;
    if (!json_is_array(array) || json_array_size(array) > max) {
        return NULL;
    }
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    json_array_foreach((json_t *)(uintptr_t)array, i, item)
    {
        if (!json_is_string(item)) {
            return NULL;
        }
        g_ptr_array_add(texts, g_strdup(json_string_value(item)));
    }
    return g_steal_pointer(&texts);
}

static void
add_defect(struct facts *facts, const char *name)
{
    facts_add_defect(facts, name, "");
}

static bool
list_from_json(const json_t *array, struct facts *facts, void (*add)(struct facts *, const char *))
{
    g_autoptr(GPtrArray) texts = texts_from_json(array, FACTS_LIST_MAX);
    for (guint i = 0; texts != NULL && i < texts->len; i++) {
        add(facts, g_ptr_array_index(texts, i));
    }
    return texts != NULL;
}

/* "", "1.2", "1.2/3/1": numbers, separated. One that facts would cut might be no path then. */
static bool
is_path(const char *path)
{
    bool in_number = false;
    for (const char *p = path; *p != '\0'; p++) {
        bool separator = *p == '/' || (*p == '.' && in_number);
        if (!g_ascii_isdigit(*p) && !separator) {
            return false;
        }
        in_number = g_ascii_isdigit(*p);
    }
    return *path == '\0' || (in_number && strlen(path) <= FACTS_TEXT_MAX);
}

static bool
is_sha256(const char *text)
{
    return strlen(text) == SHA256_HEX && strspn(text, "0123456789abcdef") == SHA256_HEX;
}

static bool
is_true_type(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= TRUE_TYPE_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
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
        const char *name;
        const char *detail;
        const char *part;
        enum cause cause;
        if (json_unpack_ex(item, NULL, JSON_STRICT, "{s:s, s:s, s:s}", "cause", &name, "detail",
                           &detail, "part", &part) < 0 ||
            !cause_parse(name, &cause) || !is_path(part)) {
            return false;
        }
        facts_add_unscanned(facts, cause, detail, part);
    }
    return true;
}

static bool
range_from_json(json_t *array, struct part *part)
{
    json_int_t from;
    json_int_t body_from;
    json_int_t to;
    if (json_unpack_ex(array, NULL, JSON_STRICT, "[I, I, I]", &from, &body_from, &to) < 0 ||
        from < 0 || body_from < from || to < body_from || to == 0) {
        return false;
    }
    part->from = (guint64)from;
    part->body_from = (guint64)body_from;
    part->to = (guint64)to;
    return true;
}

static bool
part_is_sane(const struct part *part)
{
    return is_path(part->path) && (part->sha256 == NULL || is_sha256(part->sha256)) &&
           (part->true_type == NULL || is_true_type(part->true_type));
}

/* An absent list is an empty one. */
static bool
part_list_from_json(const json_t *array, GPtrArray **ret)
{
    *ret = array != NULL ? texts_from_json(array, FACTS_PART_LIST_MAX) : NULL;
    return array == NULL || *ret != NULL;
}

static bool
part_lists_from_json(const json_t *detections, const json_t *limits, const json_t *defects,
                     struct part *part, struct facts *facts)
{
    bool ok = part_list_from_json(detections, &part->detections);
    ok = part_list_from_json(limits, &part->limits) && ok;
    ok = part_list_from_json(defects, &part->defects) && ok;
    if (ok) {
        (void)facts_add_part(facts, part);
    }
    g_clear_pointer(&part->detections, g_ptr_array_unref);
    g_clear_pointer(&part->limits, g_ptr_array_unref);
    g_clear_pointer(&part->defects, g_ptr_array_unref);
    return ok;
}

static bool
part_from_json(json_t *json, struct facts *facts)
{
    struct part part = {0};
    json_int_t size;
    int encrypted = 0;
    int is_signed = 0;
    int macros = 0;
    json_t *detections = NULL;
    json_t *limits = NULL;
    json_t *defects = NULL;
    json_t *range = NULL;
    if (json_unpack_ex(json, NULL, JSON_STRICT,
                       "{s:s, s:s, s?s, s?s, s:I, s?s, s?b, s?b, s?b, s?o, s?o, s?o, s?o}", "path",
                       &part.path, "type", &part.type, "true_type", &part.true_type, "filename",
                       &part.filename, "size", &size, "sha256", &part.sha256, "encrypted",
                       &encrypted, "signed", &is_signed, "macros", &macros, "detections",
                       &detections, "limits", &limits, "defects", &defects, "range", &range) < 0 ||
        size < 0 || !part_is_sane(&part) || (range != NULL && !range_from_json(range, &part))) {
        return false;
    }
    part.size = (guint64)size;
    part.encrypted = encrypted;
    part.signed_ = is_signed;
    part.macros = macros;
    return part_lists_from_json(detections, limits, defects, &part, facts);
}

static bool
parts_from_json(const json_t *array, struct facts *facts)
{
    size_t i;
    json_t *item;
    if (!json_is_array(array) || json_array_size(array) > FACTS_PARTS_MAX) {
        return false;
    }
    json_array_foreach((json_t *)(uintptr_t)array, i, item)
    {
        if (!part_from_json(item, facts)) {
            return false;
        }
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
    json_t *defects;
    json_t *parts;
    /* The parts last: what the lists say of a part is in the part already. */
    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:i, s:b, s:I, s:o, s:o, s:o, s:o, s:o, s:I}",
                       "version", &version, "complete", &complete, "scan_us", &scan_us,
                       "detections", &detections, "unscanned", &unscanned, "faults", &faults,
                       "defects", &defects, "parts", &parts, "parts_total", &total) < 0 ||
        version != FACTS_VERSION || scan_us < 0 || total < 0 ||
        !list_from_json(detections, facts, facts_add_detection) ||
        !list_from_json(faults, facts, facts_add_fault) ||
        !list_from_json(defects, facts, add_defect) || !unscanned_from_json(unscanned, facts) ||
        !parts_from_json(parts, facts) || (guint64)total < facts->parts_total) {
        return NULL;
    }
    facts->complete = complete;
    facts->scan_us = (guint64)scan_us;
    facts->parts_total = (guint64)total;
    return g_steal_pointer(&facts);
}

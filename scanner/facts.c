/* SPDX-License-Identifier: GPL-2.0-only */
#include "facts.h"

#include <string.h>

/* Of texts within a part: many parts can repeat them. */
#define PART_TEXT_MAX 200

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

bool
cause_parse(const char *name, enum cause *ret)
{
    int i = name_index(cause_names, G_N_ELEMENTS(cause_names), name);
    if (i >= 0) {
        *ret = (enum cause)i;
    }
    return i >= 0;
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
    g_free(part->true_type);
    g_free(part->filename);
    g_free(part->sha256);
    g_clear_pointer(&part->detections, g_ptr_array_unref);
    g_clear_pointer(&part->limits, g_ptr_array_unref);
    g_clear_pointer(&part->defects, g_ptr_array_unref);
    g_free(part);
}

struct facts *
facts_new(void)
{
    struct facts *facts = g_new0(struct facts, 1);
    facts->detections = g_ptr_array_new_with_free_func(g_free);
    facts->unscanned = g_ptr_array_new_with_free_func(unscanned_free);
    facts->faults = g_ptr_array_new_with_free_func(g_free);
    facts->defects = g_ptr_array_new_with_free_func(g_free);
    facts->parts = g_ptr_array_new_with_free_func(part_free);
    facts->by_path = g_hash_table_new(g_str_hash, g_str_equal);
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
    g_ptr_array_unref(facts->defects);
    g_hash_table_unref(facts->by_path);
    g_ptr_array_unref(facts->parts);
    g_free(facts);
}

static char *
text_limited(const char *text, size_t max)
{
    g_autofree char *cut = g_strndup(text, max);
    return g_utf8_make_valid(cut, -1);
}

static void
list_add_once(GPtrArray *list, const char *text, guint max, size_t text_max)
{
    g_autofree char *copy = text_limited(text, text_max);
    if (list->len < max && !g_ptr_array_find_with_equal_func(list, copy, g_str_equal, NULL)) {
        g_ptr_array_add(list, g_steal_pointer(&copy));
    }
}

static void
part_list_add(GPtrArray **list, const char *text)
{
    if (*list == NULL) {
        *list = g_ptr_array_new_with_free_func(g_free);
    }
    list_add_once(*list, text, FACTS_PART_LIST_MAX, PART_TEXT_MAX);
}

struct part *
facts_find_part(const struct facts *facts, const char *path)
{
    return g_hash_table_lookup(facts->by_path, path);
}

/* Calls MARK for the part at PATH and for what it lies in: "1.2/3/1", "1.2/3", "1.2". */
static void
mark_upwards(struct facts *facts, const char *path, void (*mark)(struct part *, const char *),
             const char *text)
{
    g_autofree char *copy = g_strdup(path);
    for (;;) {
        struct part *part = facts_find_part(facts, copy);
        if (part != NULL) {
            mark(part, text);
        }
        char *slash = strrchr(copy, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

static void
mark_detection(struct part *part, const char *name)
{
    part_list_add(&part->detections, name);
}

static void
mark_limit(struct part *part, const char *detail)
{
    part_list_add(&part->limits, detail);
}

static void
mark_encrypted(struct part *part, const char *detail)
{
    part->encrypted = true;
    part_list_add(&part->limits, detail);
}

static void
mark_macros(struct part *part, const char *unused)
{
    (void)unused;
    part->macros = true;
}

void
facts_add_detection(struct facts *facts, const char *name)
{
    list_add_once(facts->detections, name, FACTS_LIST_MAX, FACTS_TEXT_MAX);
}

void
facts_add_detection_in(struct facts *facts, const char *name, const char *part)
{
    facts_add_detection(facts, name);
    mark_upwards(facts, part, mark_detection, name);
}

void
facts_add_fault(struct facts *facts, const char *what)
{
    list_add_once(facts->faults, what, FACTS_LIST_MAX, FACTS_TEXT_MAX);
}

void
facts_add_defect(struct facts *facts, const char *name, const char *part)
{
    list_add_once(facts->defects, name, FACTS_LIST_MAX, FACTS_TEXT_MAX);
    struct part *known = facts_find_part(facts, part);
    if (known != NULL) {
        part_list_add(&known->defects, name);
    }
}

void
facts_mark_macros(struct facts *facts, const char *part)
{
    mark_upwards(facts, part, mark_macros, NULL);
}

static guint
count_cause(const GPtrArray *unscanned, enum cause cause)
{
    guint n = 0;
    for (guint i = 0; i < unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(unscanned, i);
        n += u->cause == cause ? 1 : 0;
    }
    return n;
}

/* Removes the last entry whose cause another one names too. */
static bool
drop_repeated_cause(GPtrArray *unscanned)
{
    for (guint i = unscanned->len; i-- > 0;) {
        const struct unscanned *u = g_ptr_array_index(unscanned, i);
        if (count_cause(unscanned, u->cause) > 1) {
            g_ptr_array_remove_index(unscanned, i);
            return true;
        }
    }
    return false;
}

static bool
is_known(const GPtrArray *unscanned, enum cause cause, const char *detail)
{
    for (guint i = 0; i < unscanned->len; i++) {
        const struct unscanned *known = g_ptr_array_index(unscanned, i);
        if (known->cause == cause && strcmp(known->detail, detail) == 0) {
            return true;
        }
    }
    return false;
}

void
facts_add_unscanned(struct facts *facts, enum cause cause, const char *detail, const char *part)
{
    g_autofree char *text = text_limited(detail, FACTS_TEXT_MAX);
    bool encrypted = cause == CAUSE_ENCRYPTED || cause == CAUSE_END_TO_END;
    mark_upwards(facts, part, encrypted ? mark_encrypted : mark_limit, text);
    if (is_known(facts->unscanned, cause, text)) {
        return;
    }
    if (facts->unscanned->len >= FACTS_LIST_MAX &&
        (count_cause(facts->unscanned, cause) > 0 || !drop_repeated_cause(facts->unscanned))) {
        return;
    }
    struct unscanned *u = g_new0(struct unscanned, 1);
    u->cause = cause;
    u->detail = g_steal_pointer(&text);
    u->part = text_limited(part, FACTS_TEXT_MAX);
    g_ptr_array_add(facts->unscanned, u);
}

static GPtrArray *
part_list_copy(const GPtrArray *list)
{
    GPtrArray *copy = NULL;
    for (guint i = 0; list != NULL && i < list->len; i++) {
        part_list_add(&copy, g_ptr_array_index(list, i));
    }
    return copy;
}

static char *
optional_text(const char *text)
{
    return text == NULL ? NULL : text_limited(text, FACTS_TEXT_MAX);
}

struct part *
facts_add_part(struct facts *facts, const struct part *part)
{
    facts->parts_total++;
    if (facts->parts->len >= FACTS_PARTS_MAX) {
        return NULL;
    }
    struct part *copy = g_new(struct part, 1);
    *copy = *part;
    copy->path = text_limited(part->path, FACTS_TEXT_MAX);
    copy->type = text_limited(part->type, FACTS_TEXT_MAX);
    copy->true_type = optional_text(part->true_type);
    copy->filename = optional_text(part->filename);
    copy->sha256 = g_strdup(part->sha256);
    copy->detections = part_list_copy(part->detections);
    copy->limits = part_list_copy(part->limits);
    copy->defects = part_list_copy(part->defects);
    g_ptr_array_add(facts->parts, copy);
    if (!g_hash_table_contains(facts->by_path, copy->path)) {
        g_hash_table_insert(facts->by_path, copy->path, copy);
    }
    return copy;
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
    return facts->unscanned->len > 0 ? VERDICT_UNSCANNED : VERDICT_CLEAN;
}

/* How much would be lost with its description. */
static int
part_weight(const struct part *part)
{
    if (part->detections != NULL) {
        return 2;
    }
    return part->encrypted || part->macros || part->limits != NULL || part->defects != NULL;
}

/* Drops half of the parts of the least weight that there is, from the end. */
static bool
shorten_parts(struct facts *facts)
{
    GPtrArray *parts = facts->parts;
    int least = G_MAXINT;
    guint of_least = 0;
    for (guint i = 0; i < parts->len; i++) {
        int weight = part_weight(g_ptr_array_index(parts, i));
        of_least = weight < least ? 0 : of_least;
        least = MIN(least, weight);
        of_least += weight == least ? 1 : 0;
    }
    guint drop = (of_least + 1) / 2;
    for (guint i = parts->len; i-- > 0 && drop > 0;) {
        const struct part *part = g_ptr_array_index(parts, i);
        if (part_weight(part) == least) {
            if (g_hash_table_lookup(facts->by_path, part->path) == part) {
                g_hash_table_remove(facts->by_path, part->path);
            }
            g_ptr_array_remove_index(parts, i);
            drop--;
        }
    }
    return of_least > 0;
}

bool
facts_shorten(struct facts *facts)
{
    if (shorten_parts(facts)) {
        return true;
    }
    if (drop_repeated_cause(facts->unscanned)) {
        for (guint left = facts->unscanned->len / 2;
             left > 0 && drop_repeated_cause(facts->unscanned); left--) {
        }
        return true;
    }
    GPtrArray *const lists[] = {facts->defects, facts->faults, facts->detections};
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        if (lists[i]->len > 1) {
            g_ptr_array_set_size(lists[i], (gint)(lists[i]->len / 2));
            return true;
        }
    }
    return false;
}

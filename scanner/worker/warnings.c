/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "warnings.h"

#include "defects.h"

struct warning {
    gint64 offset;
    const char *name;
};

struct start {
    gint64 offset;
    char *path;
};

static void
start_clear(void *p)
{
    struct start *start = p;
    g_clear_pointer(&start->path, g_free);
}

void
warnings_begin(struct warnings *warnings)
{
    *warnings = (struct warnings){
        .list = g_array_new(FALSE, FALSE, sizeof(struct warning)),
        .starts = g_array_new(FALSE, FALSE, sizeof(struct start)),
    };
    g_array_set_clear_func(warnings->starts, start_clear);
}

void
warnings_on_warning(gint64 offset, GMimeParserWarning code, const char *item, void *data)
{
    struct warnings *warnings = data;
    bool structural;
    struct warning warning = {.offset = offset, .name = defect_of_warning(code, &structural)};
    (void)item;
    if (warning.name != NULL) {
        warnings->structural |= structural;
        if (warnings->list->len < FACTS_PARTS_MAX) {
            g_array_append_val(warnings->list, warning);
        }
    }
}

void
warnings_add_start(struct warnings *warnings, gint64 offset, const char *path)
{
    if (offset >= 0 && warnings->starts->len < FACTS_PARTS_MAX) {
        struct start start = {.offset = offset, .path = g_strdup(path)};
        g_array_append_val(warnings->starts, start);
    }
}

static const char *
path_at(const GArray *starts, gint64 offset)
{
    gint64 last = -1;
    const char *path = "";
    for (guint i = 0; i < starts->len; i++) {
        const struct start *start = &g_array_index(starts, struct start, i);
        if (start->offset <= offset && start->offset > last) {
            last = start->offset;
            path = start->path;
        }
    }
    return path;
}

void
warnings_end(struct warnings *warnings, const char *path, struct facts *facts)
{
    for (guint i = 0; i < warnings->list->len; i++) {
        const struct warning *warning = &g_array_index(warnings->list, struct warning, i);
        facts_add_defect(facts, warning->name,
                         warning->offset < 0 ? path : path_at(warnings->starts, warning->offset));
    }
    g_clear_pointer(&warnings->list, g_array_unref);
    g_clear_pointer(&warnings->starts, g_array_unref);
}

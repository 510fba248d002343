/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta-undo.h"

#include <string.h>

/* From the first line of an entry to the first of the next; the first has what comes before. */
struct entry {
    char *key; /* with a number behind it from the second of a name on */
    char *text;
};

static void
entry_free(void *p)
{
    struct entry *entry = p;
    g_free(entry->key);
    g_free(entry->text);
    g_free(entry);
}

static gboolean
begins_entry(const char *line)
{
    return strchr("# \t\n", *line) == NULL;
}

static char *
key_of(enum mta_syntax syntax, const char *line)
{
    size_t name = strcspn(line, syntax == MTA_MAIN ? "= \t\n" : " \t\n");
    if (syntax == MTA_MAIN) {
        return g_strndup(line, name);
    }
    const char *type = line + name + strspn(line + name, " \t");
    return g_strdup_printf("%.*s/%.*s", (int)name, line, (int)strcspn(type, " \t\n"), type);
}

static struct entry *
find(const GPtrArray *entries, const char *key)
{
    for (guint i = 0; i < entries->len; i++) {
        struct entry *entry = g_ptr_array_index(entries, i);
        if (strcmp(entry->key, key) == 0) {
            return entry;
        }
    }
    return NULL;
}

static void
add(GPtrArray *entries, char *key, const char *from, const char *end)
{
    struct entry *entry = g_new0(struct entry, 1);
    g_autofree char *name = key;
    entry->key = g_strdup(name);
    for (guint n = 2; find(entries, entry->key) != NULL; n++) {
        g_free(entry->key);
        entry->key = g_strdup_printf("%s#%u", name, n);
    }
    entry->text = g_strndup(from, (gsize)(end - from));
    g_ptr_array_add(entries, entry);
}

static const char *
next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end == NULL ? line + strlen(line) : end + 1;
}

static GPtrArray *
split(enum mta_syntax syntax, const char *text)
{
    GPtrArray *entries = g_ptr_array_new_with_free_func(entry_free);
    const char *from = text;
    const char *first = NULL;
    for (const char *line = text; *line != '\0'; line = next_line(line)) {
        if (!begins_entry(line)) {
            continue;
        }
        add(entries, first == NULL ? g_strdup("") : key_of(syntax, first), from, line);
        from = line;
        first = line;
    }
    add(entries, first == NULL ? g_strdup("") : key_of(syntax, first), from, from + strlen(from));
    return entries;
}

static gboolean
same(const struct entry *a, const struct entry *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a->text, b->text) == 0;
}

/* The last entry of a file may lack its line end, which it needs when it is not the last here. */
static void
append(GString *out, const char *text)
{
    if (out->len > 0 && *text != '\0' && out->str[out->len - 1] != '\n') {
        g_string_append_c(out, '\n');
    }
    g_string_append(out, text);
}

/* One entry of the file as it is now: FALSE when others changed what we had changed too. */
static gboolean
take_back(const struct entry *entry, const GPtrArray *before, const GPtrArray *after, GString *out)
{
    const struct entry *old = find(before, entry->key);
    const struct entry *ours = find(after, entry->key);
    if (same(old, ours)) {
        append(out, entry->text);
        return TRUE;
    }
    if (same(ours, entry)) {
        append(out, old == NULL ? "" : old->text);
        return TRUE;
    }
    append(out, entry->text);
    return same(old, entry);
}

enum mta_undo
mta_undo(enum mta_syntax syntax, const char *before, const char *after, const char *now,
         char **result_r, GPtrArray *open)
{
    enum mta_undo how = MTA_UNDO_MERGED;
    if (strcmp(now, after) == 0 || strcmp(now, before) == 0) {
        *result_r = g_strdup(before);
        return MTA_UNDO_WHOLE;
    }
    g_autoptr(GPtrArray) olds = split(syntax, before);
    g_autoptr(GPtrArray) ours = split(syntax, after);
    g_autoptr(GPtrArray) entries = split(syntax, now);
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < entries->len; i++) {
        const struct entry *entry = g_ptr_array_index(entries, i);
        if (!take_back(entry, olds, ours, out)) {
            g_ptr_array_add(open, g_strndup(entry->key, strcspn(entry->key, "#")));
            how = MTA_UNDO_OPEN;
        }
    }
    *result_r = g_string_free(out, FALSE);
    return how;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta-undo.h"

#include <string.h>

/*
 * An entry with its continuation lines; or the comments and blank lines behind it, which count for
 * themselves because postconf moves comments from inside a service in front of it. The first of a
 * file are those before any entry.
 */
struct entry {
    char *key; /* with a number behind it from the second of a name on */
    char *text;
    gboolean is_comment;
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

/* postconf(5), master(5): a line that begins with a blank goes on, unless it is a comment. */
static gboolean
continues_entry(const char *line)
{
    const char *word = line + strspn(line, " \t");
    return word > line && *word != '#' && *word != '\n' && *word != '\0';
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
add(GPtrArray *entries, const char *name, gboolean is_comment, const char *from, const char *end)
{
    struct entry *entry = g_new0(struct entry, 1);
    const char *mark = is_comment ? "~" : "";
    entry->is_comment = is_comment;
    entry->key = g_strconcat(name, mark, NULL);
    for (guint n = 2; find(entries, entry->key) != NULL; n++) {
        g_free(entry->key);
        entry->key = g_strdup_printf("%s%s#%u", name, mark, n);
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

/* One entry and what is behind it; returns where the next begins. */
static const char *
split_one(enum mta_syntax syntax, GPtrArray *entries, const char *from)
{
    g_autofree char *name = begins_entry(from) ? key_of(syntax, from) : g_strdup("");
    const char *end = begins_entry(from) ? next_line(from) : from;
    const char *line = end;
    for (; *line != '\0' && !begins_entry(line); line = next_line(line)) {
        end = *name != '\0' && continues_entry(line) ? next_line(line) : end;
    }
    if (*name != '\0') {
        add(entries, name, FALSE, from, end);
    }
    add(entries, name, TRUE, end, line);
    return line;
}

static GPtrArray *
split(enum mta_syntax syntax, const char *text)
{
    GPtrArray *entries = g_ptr_array_new_with_free_func(entry_free);
    for (const char *from = text; *from != '\0';) {
        from = split_one(syntax, entries, from);
    }
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
    return entry->is_comment || same(old, entry);
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

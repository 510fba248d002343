/* SPDX-License-Identifier: GPL-2.0-only */
#include "verdict-line.h"

#include <string.h>

/* From P, at the beginning of a word, to the end of the word; quoted values may have blanks. */
static const char *
word_end(const char *p)
{
    const char *equals = p + strcspn(p, "= \"");
    if (*equals == '=' && equals[1] == '"') {
        const char *quote = strchr(equals + 2, '"');
        return quote == NULL ? p + strlen(p) : quote + 1;
    }
    return p + strcspn(p, " ");
}

char *
verdict_line_field(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = text; *p != '\0';) {
        const char *end = word_end(p);
        if (strncmp(p, name, length) == 0 && p[length] == '=') {
            const char *value = p + length + 1;
            gboolean quoted = *value == '"' && end - value >= 2;
            g_autofree char *found = quoted ? g_strndup(value + 1, (gsize)(end - value - 2))
                                            : g_strndup(value, (gsize)(end - value));
            return !quoted && strcmp(found, "-") == 0 ? NULL : g_steal_pointer(&found);
        }
        p = end + strspn(end, " ");
    }
    return NULL;
}

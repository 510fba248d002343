/* SPDX-License-Identifier: GPL-2.0-only */
#include "settings-text.h"

#include <stdbool.h>
#include <string.h>
#include <glib.h>

/* Where a comment at the start of P ends, its line end not included; P when there is none. */
static char *
comment_end(char *p, bool at_word)
{
    if (*p == '#' || (at_word && g_str_has_prefix(p, "//"))) {
        return p + strcspn(p, "\n");
    }
    if (at_word && g_str_has_prefix(p, "/*")) {
        char *end = strstr(p + 2, "*/");
        return end == NULL ? p + strlen(p) : end + 2;
    }
    return p;
}

static char *
quoted_end(char *p)
{
    char quote = *p++;
    while (*p != '\0' && *p != quote) {
        p += *p == '\\' && p[1] != '\0' ? 2 : 1;
    }
    return *p == '\0' ? p : p + 1;
}

void
settings_text_blank(char *text)
{
    bool at_word = true;
    for (char *p = text; *p != '\0';) {
        char *end = comment_end(p, at_word);
        for (char *c = p; c < end; c++) {
            *c = *c == '\n' ? '\n' : ' ';
        }
        if (end > p) {
            p = end;
            continue;
        }
        at_word = strchr(" \t\r\n,={}()", *p) != NULL;
        p = *p == '"' || *p == '\'' ? quoted_end(p) : p + 1;
    }
}

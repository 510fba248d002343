/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "pdf.h"

#include <string.h>
#include <glib.h>

/* How far a stream's dictionary may reach from its type. */
#define REACH 4096U

static const unsigned char *
find(const unsigned char *from, const unsigned char *end, const char *text)
{
    return from != NULL && from < end ? memmem(from, (size_t)(end - from), text, strlen(text))
                                      : NULL;
}

static bool
has_hexadecimal(const unsigned char *p, const unsigned char *end)
{
    for (; p + 1 < end; p++) {
        if (*p == '<' && p[1] == '<') {
            p++;
        } else if (*p == '<' && (g_ascii_isxdigit(p[1]) || g_ascii_isspace(p[1]))) {
            return true;
        }
    }
    return false;
}

/* The dictionary around P, from its object's beginning to its stream. */
static bool
is_hidden(const unsigned char *data, const unsigned char *p, const unsigned char *end)
{
    const unsigned char *begin = (size_t)(p - data) > REACH ? p - REACH : data;
    const unsigned char *limit = (size_t)(end - p) > REACH ? p + REACH : end;
    const unsigned char *stream = find(p, limit, "stream");
    const unsigned char *object = begin;
    for (const unsigned char *q = begin; (q = find(q, p, " obj")) != NULL; q++) {
        object = q;
    }
    return stream != NULL && has_hexadecimal(object, stream);
}

bool
pdf_hides_files(const unsigned char *data, size_t len)
{
    static const char mark[] = "/EmbeddedFile";
    const unsigned char *end = data + len;
    if (find(data, end, "/Encrypt") == NULL) {
        return false;
    }
    for (const unsigned char *p = data; (p = find(p, end, mark)) != NULL; p++) {
        const unsigned char *after = p + sizeof mark - 1;
        if (after < end && *after != 's' && is_hidden(data, p, end)) {
            return true;
        }
    }
    return false;
}

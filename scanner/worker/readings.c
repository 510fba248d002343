/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "readings.h"

#include <string.h>

#include "defects.h"

/* How far a header may lie behind leading blank lines or mbox lines. */
#define LOOK_AT 65536
/* Bytes of entities that have delimiters of other kinds in them: nested ones are seen repeatedly.
 */
#define LONG_FACTOR 16
#define LONG_BASE (1U << 20)

/* A name that ends with a colon; spaces before it are obsolete but read by everybody. */
static bool
is_header(const unsigned char *line, size_t len)
{
    size_t i = 0;
    while (i < len && line[i] > ' ' && line[i] < 127 && line[i] != ':') {
        i++;
    }
    size_t name = i;
    while (i < len && (line[i] == ' ' || line[i] == '\t')) {
        i++;
    }
    return name > 0 && i < len && line[i] == ':';
}

bool
reading_is_mail(const unsigned char *data, size_t len)
{
    const unsigned char *end = data + MIN(len, LOOK_AT);
    while (data < end) {
        const unsigned char *eol = memchr(data, '\n', (size_t)(end - data));
        size_t line = (size_t)((eol != NULL ? eol : end) - data);
        if (is_header(data, line)) {
            return true;
        }
        bool blank = line == 0 || (line == 1 && *data == '\r');
        bool mbox = (line > 5 && memcmp(data, "From ", 5) == 0) ||
                    (line > 6 && memcmp(data, ">From ", 6) == 0);
        if ((!blank && !mbox) || eol == NULL) {
            return false;
        }
        data = eol + 1;
    }
    return false;
}

static bool
names_content(const unsigned char *head, size_t len)
{
    g_autofree char *lower = g_ascii_strdown((const char *)head, (gssize)len);
    return g_strstr_len(lower, (gssize)len, "content-t") != NULL ||
           g_strstr_len(lower, (gssize)len, "content-disposition") != NULL;
}

bool
reading_is_mime_mail(const unsigned char *data, size_t len)
{
    const char *text = (const char *)data;
    gssize head = (gssize)MIN(len, LOOK_AT);
    if (!reading_is_mail(data, len)) {
        return false;
    }
    const char *const ends[] = {"\n\n", "\r\n\r\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        const char *end = g_strstr_len(text, head, ends[i]);
        head = end != NULL ? end - text : head;
    }
    return names_content(data, (size_t)head);
}

static bool
ends_with_lf_cr(const unsigned char *data, size_t len)
{
    const unsigned char *eol = memchr(data, '\n', len);
    size_t at = eol != NULL ? (size_t)(eol - data) : len;
    return at + 1 < len && data[at + 1] == '\r' && (at == 0 || data[at - 1] != '\r') &&
           memchr(data, '\r', at) == NULL;
}

bool
reading_is_odd(const unsigned char *data, size_t len)
{
    struct defect_bytes bytes = defect_bytes(data, len);
    return bytes.nul || bytes.bare_cr;
}

GByteArray *
reading_normalised(const unsigned char *data, size_t len)
{
    unsigned char first = ends_with_lf_cr(data, len) ? '\n' : '\r';
    unsigned char second = first == '\n' ? '\r' : '\n';
    GByteArray *out = g_byte_array_sized_new((guint)len);
    unsigned char *to = out->data;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\r' || data[i] == '\n') {
            bool pair = data[i] == first && i + 1 < len && data[i + 1] == second;
            i += pair ? 1 : 0;
            *to++ = '\n';
        } else if (data[i] != '\0') {
            *to++ = data[i];
        }
    }
    out->len = (guint)(to - out->data);
    return out;
}

struct cursor {
    const unsigned char *at;
    const unsigned char *end;
};

struct text {
    const unsigned char *at;
    const unsigned char *end;
};

/* The next line, without its end; false at the end of the text. */
static bool
next_line(struct cursor *cursor, const unsigned char **ret_line, size_t *ret_len)
{
    if (cursor->at >= cursor->end) {
        return false;
    }
    const unsigned char *eol = memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at));
    const unsigned char *stop = eol != NULL ? eol : cursor->end;
    *ret_line = cursor->at;
    *ret_len = (size_t)(stop - cursor->at);
    if (*ret_len > 0 && stop[-1] == '\r') {
        (*ret_len)--;
    }
    cursor->at = eol != NULL ? eol + 1 : cursor->end;
    return true;
}

enum match { MATCH_NONE, MATCH_LONGER, MATCH_WHOLE };

/* LINE stands behind the two dashes. */
static enum match
match_boundary(const unsigned char *line, size_t len, const char *boundary)
{
    size_t n = strlen(boundary);
    if (n == 0 || len < n || memcmp(line, boundary, n) != 0) {
        return MATCH_NONE;
    }
    n += len - n >= 2 && memcmp(line + n, "--", 2) == 0 ? 2 : 0;
    while (n < len && (line[n] == ' ' || line[n] == '\t')) {
        n++;
    }
    return n == len ? MATCH_WHOLE : MATCH_LONGER;
}

bool
reading_has_longer_delimiter(const unsigned char *data, size_t len, const GPtrArray *boundaries)
{
    struct cursor cursor = {.at = data, .end = data + len};
    const unsigned char *line;
    size_t n;
    while (next_line(&cursor, &line, &n)) {
        enum match match = MATCH_NONE;
        bool dashes = n > 2 && line[0] == '-' && line[1] == '-';
        for (guint i = 0; dashes && match != MATCH_WHOLE && i < boundaries->len; i++) {
            match = MAX(match, match_boundary(line + 2, n - 2, g_ptr_array_index(boundaries, i)));
        }
        if (match == MATCH_LONGER) {
            return true;
        }
    }
    return false;
}

/* "-- " closes no part: it opens a signature. */
static bool
is_delimiter(const unsigned char *line, size_t len)
{
    return len > 2 && line[0] == '-' && line[1] == '-' && line[2] != ' ' && line[2] != '\t';
}

/* Moves CURSOR behind the header lines, and behind the empty line if there is one. Returns where
 * the headers end. */
static const unsigned char *
skip_headers(struct cursor *cursor)
{
    const unsigned char *line;
    size_t len;
    const unsigned char *end = cursor->at;
    for (bool first = true;; first = false) {
        struct cursor before = *cursor;
        if (!next_line(cursor, &line, &len) || len == 0) {
            return end;
        }
        bool folded = !first && (*line == ' ' || *line == '\t');
        if ((!folded && !is_header(line, len)) || is_delimiter(line, len)) {
            *cursor = before;
            return end;
        }
        end = cursor->at;
    }
}

/* Moves CURSOR behind the next delimiter line. Returns where the body ends: the line end before a
 * delimiter belongs to it (RFC 2046, 5.1.1). */
static const unsigned char *
skip_body(struct cursor *cursor)
{
    const unsigned char *begin = cursor->at;
    const unsigned char *line;
    size_t len;
    while (next_line(cursor, &line, &len)) {
        if (is_delimiter(line, len)) {
            line -= line > begin && line[-1] == '\n' ? 1 : 0;
            line -= line > begin && line[-1] == '\r' ? 1 : 0;
            return line;
        }
    }
    return cursor->end;
}

/* The line that ends just before AT begins there. */
static const unsigned char *
line_before(const unsigned char *data, const unsigned char *at)
{
    const unsigned char *newline =
        at - data > 1 ? memrchr(data, '\n', (size_t)(at - data) - 1) : NULL;
    return newline != NULL ? newline + 1 : data;
}

static void
report(const struct text *head, const unsigned char *body, const unsigned char *body_end,
       reading_found *found, void *found_data)
{
    GByteArray *entity = g_byte_array_new();
    g_byte_array_append(entity, head->at, (guint)(head->end - head->at));
    g_byte_array_append(entity, (const unsigned char *)"\n", 1);
    g_byte_array_append(entity, body, (guint)(body_end - body));
    found(found_data, entity, body > head->end);
}

/* DELIMITER without blanks and the two dashes of a last one: what all of its kind begin with. */
static struct text
kind_of(struct text delimiter)
{
    while (delimiter.end > delimiter.at && strchr(" \t\r\n", delimiter.end[-1]) != NULL) {
        delimiter.end--;
    }
    if (delimiter.end - delimiter.at > 4 && memcmp(delimiter.end - 2, "--", 2) == 0) {
        delimiter.end -= 2;
    }
    return delimiter;
}

/* Where a body that goes on to AT, and there to a delimiter of another kind, ends for who knows
 * only its own KIND. */
static const unsigned char *
end_of_kind(const struct text *kind, const unsigned char *at, const unsigned char *end)
{
    size_t len = (size_t)(kind->end - kind->at);
    struct cursor cursor = {.at = at, .end = end};
    const unsigned char *line;
    size_t n;
    while (next_line(&cursor, &line, &n)) {
        if (n >= len && memcmp(line, kind->at, len) == 0) {
            line -= line > at && line[-1] == '\n' ? 1 : 0;
            return line - (line > at && line[-1] == '\r' ? 1 : 0);
        }
    }
    return end;
}

bool
reading_entities(const unsigned char *data, size_t len, reading_found *found, void *found_data)
{
    struct cursor cursor = {.at = data, .end = data + len};
    struct text delimiter = {data, data};
    size_t room = LONG_FACTOR * len + LONG_BASE;
    while (cursor.at < cursor.end) {
        struct text head = {cursor.at, NULL};
        head.end = skip_headers(&cursor);
        const unsigned char *body = cursor.at;
        const unsigned char *body_end = skip_body(&cursor);
        if (head.end > head.at && names_content(head.at, (size_t)(head.end - head.at))) {
            struct text kind = kind_of(delimiter);
            const unsigned char *far = kind.end - kind.at > 2 && room > 0
                                           ? end_of_kind(&kind, body_end, cursor.end)
                                           : body_end;
            if (body_end > body) {
                report(&head, body, body_end, found, found_data);
            }
            if (far > body_end) {
                report(&head, body, far, found, found_data);
                room -= MIN(room, (size_t)(far - body));
            }
        }
        delimiter = (struct text){line_before(data, cursor.at), cursor.at};
    }
    return room > 0;
}

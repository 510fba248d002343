/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "inline.h"

#include <stdbool.h>
#include <string.h>

#include "base64.h"

struct line {
    const unsigned char *text;
    size_t len; /* without the line's end */
};

struct reader {
    const unsigned char *next;
    const unsigned char *end;
};

static bool
line_read(struct reader *reader, struct line *ret)
{
    if (reader->next >= reader->end) {
        return false;
    }
    size_t left = (size_t)(reader->end - reader->next);
    const unsigned char *eol = memchr(reader->next, '\n', left);
    ret->text = reader->next;
    ret->len = eol != NULL ? (size_t)(eol - reader->next) : left;
    reader->next += ret->len + (eol != NULL);
    while (ret->len > 0 && ret->text[ret->len - 1] == '\r') {
        ret->len--;
    }
    return true;
}

static bool
starts(const struct line *line, const char *with)
{
    size_t len = strlen(with);
    return line->len >= len && memcmp(line->text, with, len) == 0;
}

/* "begin 644 name": the mode is octal, of any length. */
static bool
has_mode(const struct line *line, size_t at)
{
    size_t digits = at;
    while (digits < line->len && line->text[digits] >= '0' && line->text[digits] <= '7') {
        digits++;
    }
    return digits > at && digits < line->len && line->text[digits] == ' ';
}

static bool
starts_uuencode(const struct line *line)
{
    return starts(line, "begin ") && has_mode(line, strlen("begin "));
}

static bool
starts_base64(const struct line *line)
{
    return starts(line, "begin-base64 ") && has_mode(line, strlen("begin-base64 "));
}

static bool
starts_yenc(const struct line *line)
{
    return starts(line, "=ybegin ");
}

static bool
starts_binhex(const struct line *line)
{
    return starts(line, "(This file must be converted with BinHex");
}

static bool
is_word(const struct line *line, const char *word)
{
    size_t len = line->len;
    while (len > 0 && (line->text[len - 1] == ' ' || line->text[len - 1] == '\t')) {
        len--;
    }
    return len == strlen(word) && memcmp(line->text, word, len) == 0;
}

/* What is missing at a line's end are spaces that somebody has cut off. */
static unsigned
uu_digit(const struct line *line, size_t at)
{
    return at < line->len ? (line->text[at] - 32U) & 63 : 0;
}

static bool
is_uu_line(const struct line *line)
{
    for (size_t i = 0; i < line->len; i++) {
        if (line->text[i] < ' ' || line->text[i] > '`') {
            return false;
        }
    }
    return line->len > 0;
}

static void
uu_decode(const struct line *line, GByteArray *out)
{
    unsigned bytes = uu_digit(line, 0);
    for (size_t at = 1; bytes > 0; at += 4) {
        guint32 group = uu_digit(line, at) << 18 | uu_digit(line, at + 1) << 12 |
                        uu_digit(line, at + 2) << 6 | uu_digit(line, at + 3);
        const guint8 three[] = {group >> 16 & 0xff, group >> 8 & 0xff, group & 0xff};
        guint n = MIN(bytes, 3);
        g_byte_array_append(out, three, n);
        bytes -= n;
    }
}

static bool
take_uuencode(const struct line *line, GByteArray *out)
{
    if (is_word(line, "end")) {
        return false;
    }
    if (is_uu_line(line)) {
        uu_decode(line, out);
    }
    return true;
}

static bool
take_base64(const struct line *line, GByteArray *out)
{
    if (is_word(line, "====")) {
        return false;
    }
    base64_decode(line->text, line->len, out);
    return true;
}

static bool
take_yenc(const struct line *line, GByteArray *out)
{
    if (starts(line, "=ypart ") || starts(line, "=yend")) {
        return starts(line, "=ypart ");
    }
    for (size_t i = 0; i < line->len; i++) {
        bool escaped = line->text[i] == '=' && i + 1 < line->len;
        i += escaped;
        guint8 byte = (guint8)(line->text[i] - 42U - (escaped ? 64U : 0U));
        g_byte_array_append(out, &byte, 1);
    }
    return true;
}

/* Its text begins and ends with a colon. */
static bool
take_binhex(const struct line *line, GByteArray *out)
{
    static const char mark[] = "(This file must be converted with BinHex 4.0)\n";
    if (out->len == 0 && line->len > 0 && line->text[0] != ':') {
        return false;
    }
    if (line->len > 0) {
        if (out->len == 0) {
            g_byte_array_append(out, (const guint8 *)mark, sizeof mark - 1);
        }
        g_byte_array_append(out, line->text, (guint)line->len);
        g_byte_array_append(out, (const guint8 *)"\n", 1);
    }
    return line->len < 2 || line->text[line->len - 1] != ':';
}

/* RFC 5545 3.8.1.1, RFC 2426 3.7.2: what a calendar shows as attached, and a card's key. */
static bool
starts_property(const struct line *line)
{
    static const char *const names[] = {"ATTACH;", "KEY;"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        size_t len = strlen(names[i]);
        if (line->len > len && g_ascii_strncasecmp((const char *)line->text, names[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* Lines are folded anywhere: the whole property is put together first. */
static bool
take_property(const struct line *line, GByteArray *out)
{
    bool folded = line->len > 0 && (line->text[0] == ' ' || line->text[0] == '\t');
    if (out->len > 0 && !folded) {
        return false;
    }
    g_byte_array_append(out, line->text + folded, (guint)(line->len - folded));
    return true;
}

static void
finish_property(GByteArray *out)
{
    const guint8 *colon = memchr(out->data, ':', out->len);
    g_autofree char *head =
        colon != NULL ? g_ascii_strdown((const char *)out->data, colon - out->data) : NULL;
    g_autoptr(GByteArray) text = g_byte_array_new();
    if (head != NULL && strstr(head, ";encoding=b") != NULL) {
        g_byte_array_append(text, colon + 1, (guint)(out->data + out->len - colon - 1));
    }
    g_byte_array_set_size(out, 0);
    base64_decode(text->data, text->len, out);
}

static const struct kind {
    bool (*starts)(const struct line *line);
    /* Returns false at the end. */
    bool (*take)(const struct line *line, GByteArray *out);
    /* If there is one, take() gets the first line too, and this makes the file of what it took. */
    void (*finish)(GByteArray *out);
} kinds[] = {
    {starts_uuencode, take_uuencode, NULL},
    {starts_base64, take_base64, NULL},
    {starts_yenc, take_yenc, NULL},
    {starts_binhex, take_binhex, NULL},
    {starts_property, take_property, finish_property},
};

static const struct kind *
kind_of(const struct line *line)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i].starts(line)) {
            return &kinds[i];
        }
    }
    return NULL;
}

static GByteArray *
begin(const struct kind *kind, const struct line *line)
{
    GByteArray *content = g_byte_array_new();
    if (kind->finish != NULL) {
        (void)kind->take(line, content);
    }
    return content;
}

static void
end(const struct kind *kind, GByteArray *content, inline_found *found, void *data)
{
    if (kind->finish != NULL) {
        kind->finish(content);
    }
    if (content->len > 0) {
        found(data, content);
    } else {
        g_byte_array_unref(content);
    }
}

/* The beginning of a file ends the one before it: its end may be missing on purpose. But a property
 * is a line like any other to uuencode and the like. */
static const struct kind *
next_kind(const struct kind *current, const struct line *line)
{
    const struct kind *next = kind_of(line);
    bool passes =
        next != NULL && next->finish != NULL && current != NULL && current->finish == NULL;
    return passes ? NULL : next;
}

void
inline_find(const unsigned char *text, size_t len, inline_found *found, void *data)
{
    struct reader reader = {.next = text, .end = text + len};
    const struct kind *kind = NULL; /* of the file that is being read, CONTENT */
    GByteArray *content = NULL;
    struct line line;
    while (line_read(&reader, &line)) {
        const struct kind *next = next_kind(kind, &line);
        if (kind != NULL && (next != NULL || !kind->take(&line, content))) {
            end(kind, content, found, data);
            kind = NULL;
        }
        if (next != NULL) {
            kind = next;
            content = begin(kind, &line);
        }
    }
    if (kind != NULL) {
        end(kind, content, found, data);
    }
}

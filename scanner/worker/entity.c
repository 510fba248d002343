/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "entity.h"

#include <string.h>

#include "defects.h"

char *
entity_type(GMimeObject *object)
{
    GMimeContentType *type = g_mime_object_get_content_type(object);
    return type != NULL ? g_mime_content_type_get_mime_type(type) : g_strdup("text/plain");
}

char *
entity_filename(GMimeObject *object)
{
    const char *name = GMIME_IS_PART(object) ? g_mime_part_get_filename(GMIME_PART(object)) : NULL;
    if (name == NULL) {
        name = g_mime_object_get_content_disposition_parameter(object, "filename");
    }
    if (name == NULL) {
        name = g_mime_object_get_content_type_parameter(object, "name");
    }
    return name != NULL ? g_utf8_make_valid(name, -1) : NULL;
}

bool
entity_is_message(GMimeObject *object)
{
    GMimeContentType *type = g_mime_object_get_content_type(object);
    return type != NULL && (g_mime_content_type_is_type(type, "message", "rfc822") ||
                            g_mime_content_type_is_type(type, "message", "global") ||
                            g_mime_content_type_is_type(type, "message", "news"));
}

bool
entity_is_body(GMimeObject *object)
{
    g_autofree char *type = entity_type(object);
    g_autofree char *name = entity_filename(object);
    GMimeContentDisposition *shown = g_mime_object_get_content_disposition(object);
    return name == NULL &&
           (shown == NULL || g_mime_content_disposition_is_attachment(shown) == FALSE) &&
           (g_ascii_strcasecmp(type, "text/plain") == 0 ||
            g_ascii_strcasecmp(type, "text/html") == 0);
}

static GMimeContentEncoding
encoding_of(GMimeObject *object, const char **ret_header)
{
    *ret_header = g_mime_object_get_header(object, "Content-Transfer-Encoding");
    return *ret_header != NULL ? g_mime_content_encoding_from_string(*ret_header)
                               : GMIME_CONTENT_ENCODING_DEFAULT;
}

bool
entity_is_encoded(GMimeObject *object)
{
    const char *header;
    GMimeContentEncoding encoding = encoding_of(object, &header);
    return encoding == GMIME_CONTENT_ENCODING_BASE64 ||
           encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
           encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

bool
entity_is_rumoured(GMimeObject *object, const char *encoding)
{
    GMimeHeaderList *headers = g_mime_object_get_header_list(object);
    for (int i = 0; i < g_mime_header_list_get_count(headers); i++) {
        GMimeHeader *header = g_mime_header_list_get_header_at(headers, i);
        const char *value = g_mime_header_get_raw_value(header);
        if (g_ascii_strcasecmp(g_mime_header_get_name(header), "Content-Transfer-Encoding") == 0 &&
            value != NULL) {
            g_autofree char *lower = g_ascii_strdown(value, -1);
            if (strstr(lower, encoding) != NULL) {
                return true;
            }
        }
    }
    return false;
}

GByteArray *
entity_content(GMimeDataWrapper *content, bool decoded)
{
    GByteArray *bytes = g_byte_array_new();
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(bytes);
    g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(stream), FALSE);
    if (decoded) {
        g_mime_data_wrapper_write_to_stream(content, stream);
    } else {
        GMimeStream *source = g_mime_data_wrapper_get_stream(content);
        g_mime_stream_reset(source);
        g_mime_stream_write_to_stream(source, stream);
    }
    g_object_unref(stream);
    return bytes;
}

static bool
ends_line(guint8 c)
{
    return c == '\r' || c == '\n';
}

bool
entity_has_loose_break(const GByteArray *text)
{
    for (guint i = 0; i + 2 < text->len; i++) {
        if (text->data[i] == '=') {
            guint end = i + 1;
            while (end < text->len && (text->data[end] == ' ' || text->data[end] == '\t')) {
                end++;
            }
            if (end > i + 1 && end < text->len && ends_line(text->data[end])) {
                return true;
            }
            i = end - 1;
        }
    }
    return false;
}

/* Without the blanks at the end of lines. */
static GByteArray *
trimmed(const GByteArray *text)
{
    GByteArray *out = g_byte_array_sized_new(text->len);
    guint8 *to = out->data;
    guint8 *kept = to; /* behind the last byte that is no blank */
    for (guint i = 0; i < text->len; i++) {
        guint8 c = text->data[i];
        to = ends_line(c) ? kept : to;
        *to++ = c;
        kept = c == ' ' || c == '\t' ? kept : to;
    }
    out->len = (guint)(to - out->data);
    return out;
}

GByteArray *
entity_decode_quoted(const GByteArray *text)
{
    GMimeEncoding state;
    g_autoptr(GByteArray) lines = trimmed(text);
    g_mime_encoding_init_decode(&state, GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    GByteArray *out = g_byte_array_new();
    g_byte_array_set_size(out, (guint)g_mime_encoding_outlen(&state, lines->len));
    size_t n =
        g_mime_encoding_flush(&state, (const char *)lines->data, lines->len, (char *)out->data);
    return g_byte_array_set_size(out, (guint)n);
}

static bool
is_odd_encoding(GMimeObject *object)
{
    const char *header;
    GMimeContentEncoding encoding = encoding_of(object, &header);
    return header != NULL &&
           (encoding == GMIME_CONTENT_ENCODING_DEFAULT ||
            encoding == GMIME_CONTENT_ENCODING_UUENCODE || strpbrk(header, ";,(") != NULL);
}

static bool
has_two_names(GMimeObject *object)
{
    const char *one = g_mime_object_get_content_disposition_parameter(object, "filename");
    const char *other = g_mime_object_get_content_type_parameter(object, "name");
    return one != NULL && other != NULL && strcmp(one, other) != 0;
}

static bool
has_type_comment(GMimeObject *object)
{
    GMimeHeader *header =
        g_mime_header_list_get_header(g_mime_object_get_header_list(object), "Content-Type");
    const char *value = header != NULL ? g_mime_header_get_raw_value(header) : NULL;
    return value != NULL && defect_type_comment(value);
}

bool
entity_defects(GMimeObject *object, struct facts *facts, const char *path)
{
    bool composite = GMIME_IS_MULTIPART(object) || entity_is_message(object);
    bool comment = has_type_comment(object);
    g_autofree char *name = entity_filename(object);
    const struct {
        bool is;
        const char *name;
    } defects[] = {
        {comment, DEFECT_TYPE_COMMENT},
        {is_odd_encoding(object), DEFECT_ODD_ENCODING},
        {composite && entity_is_encoded(object), DEFECT_ENCODED_COMPOSITE},
        {has_two_names(object), DEFECT_TWO_NAMES},
        {name != NULL && defect_name(name), DEFECT_ODD_NAME},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(defects); i++) {
        if (defects[i].is) {
            facts_add_defect(facts, defects[i].name, path);
        }
    }
    return comment;
}

gint64
entity_offset(GMimeObject *object)
{
    GMimeHeaderList *headers = g_mime_object_get_header_list(object);
    return g_mime_header_list_get_count(headers) > 0
               ? g_mime_header_get_offset(g_mime_header_list_get_header_at(headers, 0))
               : -1;
}

size_t
entity_message_in(GMimeMessage *message, const char *data, size_t len, const char *boundary,
                  size_t *ret_len)
{
    GMimeObject *body = g_mime_message_get_mime_part(message);
    gint64 from = entity_offset(GMIME_OBJECT(message));
    gint64 other = body != NULL ? entity_offset(body) : -1;
    from = from < 0 || (other >= 0 && other < from) ? other : from;
    *ret_len = 0;
    if (from < 0 || (guint64)from >= len) {
        return 0;
    }
    const char *end = data + len;
    g_autofree char *line = g_strconcat("\n--", boundary, NULL);
    const char *to =
        boundary != NULL ? memmem(data + from, len - (size_t)from, line, strlen(line)) : NULL;
    to = to != NULL ? to - (to > data + from && to[-1] == '\r') : end;
    *ret_len = (size_t)(to - data) - (size_t)from;
    return (size_t)from;
}

/* The line that ends just before END is a delimiter of BOUNDARY. */
static bool
follows_delimiter(const char *data, gint64 end, const char *boundary)
{
    size_t len = strlen(boundary);
    if (end < 1 || data[end - 1] != '\n') {
        return false;
    }
    const char *line = end > 1 ? memrchr(data, '\n', (size_t)end - 1) : NULL;
    line = line != NULL ? line + 1 : data;
    return (size_t)(data + end - line) >= len + 3 && memcmp(line, "--", 2) == 0 &&
           memcmp(line + 2, boundary, len) == 0 &&
           strspn(line + 2 + len, " \t\r") == (size_t)(data + end - 1 - (line + 2 + len));
}

/* At AT begins the line end that belongs to a delimiter of BOUNDARY, the last one or not. */
static bool
precedes_delimiter(const char *data, size_t len, gint64 at, const char *boundary)
{
    char *const lines[] = {g_strconcat("\n--", boundary, NULL),
                           g_strconcat("\r\n--", boundary, NULL)};
    bool found = false;
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        size_t n = strlen(lines[i]);
        size_t left = len - (size_t)at;
        found |= left >= n && memcmp(data + at, lines[i], n) == 0 &&
                 (left == n || strchr("-\r\n \t", data[(size_t)at + n]) != NULL);
        g_free(lines[i]);
    }
    return found;
}

static bool
follows_blank_line(const char *data, gint64 from, gint64 at)
{
    return (at - from >= 2 && memcmp(data + at - 2, "\n\n", 2) == 0) ||
           (at - from >= 4 && memcmp(data + at - 4, "\r\n\r\n", 4) == 0);
}

void
entity_map(GMimePart *object, const char *data, size_t len, const char *boundary, struct part *part)
{
    GMimeDataWrapper *content = g_mime_part_get_content(object);
    GMimeStream *stream = content != NULL ? g_mime_data_wrapper_get_stream(content) : NULL;
    gint64 from = boundary != NULL ? entity_offset(GMIME_OBJECT(object)) : 0;
    if (stream == NULL || from < 0) {
        return;
    }
    gint64 body_from = stream->bound_start;
    gint64 to = stream->bound_end;
    if (body_from <= from || to < body_from || (guint64)to > len ||
        !follows_blank_line(data, from, body_from)) {
        return;
    }
    if (boundary == NULL ? (guint64)to != len
                         : !follows_delimiter(data, from, boundary) ||
                               !precedes_delimiter(data, len, to, boundary)) {
        return;
    }
    part->from = (guint64)from;
    part->body_from = (guint64)body_from;
    part->to = (guint64)to;
}

/* Not GMime's own question after the boundary: where there is none it makes one. */
void
entity_note_boundary(GMimeObject *multipart, GPtrArray *boundaries, guint max)
{
    const char *boundary = g_mime_object_get_content_type_parameter(multipart, "boundary");
    if (boundary != NULL && boundaries->len <= max &&
        !g_ptr_array_find_with_equal_func(boundaries, boundary, g_str_equal, NULL)) {
        g_ptr_array_add(boundaries, g_strdup(boundary));
    }
}

bool
entity_has_bad_base64(GMimeDataWrapper *content)
{
    if (g_mime_data_wrapper_get_encoding(content) != GMIME_CONTENT_ENCODING_BASE64) {
        return false;
    }
    g_autoptr(GByteArray) text = entity_content(content, false);
    return text->len > 0 && defect_base64(text->data, text->len);
}

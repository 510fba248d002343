/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "openpgp.h"

#include <stdbool.h>
#include <string.h>
#include <gio/gio.h>

#include "base64.h"

/* RFC 4880, 4.3; RFC 9580, 5. */
enum tag {
    TAG_PKESK = 1,
    TAG_SIGNATURE = 2,
    TAG_SKESK = 3,
    TAG_ONE_PASS = 4,
    TAG_COMPRESSED = 8,
    TAG_ENCRYPTED = 9,
    TAG_MARKER = 10,
    TAG_LITERAL = 11,
    TAG_SEIPD = 18,
    TAG_AEAD = 20,
};

/* Compressed in compressed: nobody but an attacker packs deeper. */
#define DEPTH_MAX 4

struct packet {
    unsigned tag;
    GByteArray *body;
};

struct reader {
    const unsigned char *at;
    const unsigned char *end;
};

static size_t
left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static bool
read_number(struct reader *reader, unsigned bytes, size_t *ret)
{
    if (left(reader) < bytes) {
        return false;
    }
    *ret = 0;
    for (unsigned i = 0; i < bytes; i++) {
        *ret = *ret << 8 | *reader->at++;
    }
    return true;
}

static bool
append(struct reader *reader, size_t n, GByteArray *body)
{
    if (left(reader) < n) {
        return false;
    }
    g_byte_array_append(body, reader->at, (guint)n);
    reader->at += n;
    return true;
}

/* RFC 4880, 4.2.1. */
static bool
read_old_body(struct reader *reader, unsigned length_type, GByteArray *body)
{
    size_t n = 0;
    if (length_type == 3) {
        return append(reader, left(reader), body);
    }
    return read_number(reader, 1U << length_type, &n) && append(reader, n, body);
}

/* RFC 4880, 4.2.2: lengths of 1, 2, 5 bytes, or pieces whose size is a power of two. */
static bool
read_new_body(struct reader *reader, GByteArray *body)
{
    for (;;) {
        size_t first;
        size_t n;
        if (!read_number(reader, 1, &first)) {
            return false;
        }
        if (first < 192) {
            return append(reader, first, body);
        }
        if (first < 224) {
            return read_number(reader, 1, &n) &&
                   append(reader, ((first - 192) << 8) + n + 192, body);
        }
        if (first == 255) {
            return read_number(reader, 4, &n) && append(reader, n, body);
        }
        if (!append(reader, (size_t)1 << (first & 31), body)) {
            return false;
        }
    }
}

static bool
read_packet(struct reader *reader, struct packet *ret)
{
    size_t head;
    if (!read_number(reader, 1, &head) || (head & 0x80) == 0) {
        return false;
    }
    bool is_new = (head & 0x40) != 0;
    ret->tag = is_new ? head & 0x3f : (head >> 2) & 0x0f;
    ret->body = g_byte_array_new();
    bool ok =
        is_new ? read_new_body(reader, ret->body) : read_old_body(reader, head & 3, ret->body);
    if (!ok) {
        g_clear_pointer(&ret->body, g_byte_array_unref);
    }
    return ok;
}

/* RFC 4880, 9.3: 1 = raw deflate, 2 = zlib. NULL when it is something else, broken or too much;
 * *RET_PACKED: it is packed in one way or another. */
static GByteArray *
inflate(const GByteArray *body, size_t room, bool *ret_packed)
{
    *ret_packed = body->len > 4 && memcmp(body->data, "\003BZh", 4) == 0;
    if (body->len < 2 || (body->data[0] != 1 && body->data[0] != 2)) {
        return NULL;
    }
    GConverter *converter = G_CONVERTER(g_zlib_decompressor_new(
        body->data[0] == 1 ? G_ZLIB_COMPRESSOR_FORMAT_RAW : G_ZLIB_COMPRESSOR_FORMAT_ZLIB));
    g_autoptr(GByteArray) out = g_byte_array_new();
    GConverterResult result = G_CONVERTER_CONVERTED;
    size_t at = 1;
    unsigned char piece[16384];
    while (result == G_CONVERTER_CONVERTED && out->len <= room) {
        gsize taken = 0;
        gsize given = 0;
        result = g_converter_convert(converter, body->data + at, body->len - at, piece,
                                     sizeof piece, G_CONVERTER_INPUT_AT_END, &taken, &given, NULL);
        at += taken;
        g_byte_array_append(out, piece, (guint)given);
    }
    g_object_unref(converter);
    *ret_packed = out->len > 0;
    return result == G_CONVERTER_FINISHED && out->len <= room ? g_steal_pointer(&out) : NULL;
}

/* RFC 4880, 5.9: format, file name, date, content. */
static GByteArray *
literal_content(const GByteArray *body)
{
    size_t head = body->len >= 2 ? 6U + body->data[1] : 0;
    if (head == 0 || body->len < head || strchr("btuml1", body->data[0]) == NULL) {
        return NULL;
    }
    GByteArray *content = g_byte_array_new();
    return g_byte_array_append(content, body->data + head, (guint)(body->len - head));
}

static enum openpgp_kind look_at_packets(const unsigned char *data, size_t len, size_t room,
                                         unsigned depth, GByteArray **ret_content);

static enum openpgp_kind
look_at_compressed(const GByteArray *body, size_t room, unsigned depth, GByteArray **ret_content)
{
    bool packed;
    g_autoptr(GByteArray) unpacked = inflate(body, room, &packed);
    enum openpgp_kind kind = OPENPGP_NONE;
    if (unpacked != NULL && depth < DEPTH_MAX) {
        kind = look_at_packets(unpacked->data, unpacked->len, room, depth + 1, ret_content);
    }
    return kind == OPENPGP_NONE && packed ? OPENPGP_UNOPENED : kind;
}

/* *RET_MORE: the packet is one that stands before what counts. */
static enum openpgp_kind
look_at_packet(const struct packet *packet, size_t room, unsigned depth, bool *ret_more,
               GByteArray **ret_content)
{
    const GByteArray *body = packet->body;
    unsigned version = body->len > 0 ? body->data[0] : 0;
    switch (packet->tag) {
    case TAG_PKESK:
    case TAG_SKESK:
    case TAG_ONE_PASS:
    case TAG_SIGNATURE:
        *ret_more = version >= 2 && version <= 6;
        return OPENPGP_NONE;
    case TAG_MARKER:
        *ret_more = true;
        return OPENPGP_NONE;
    case TAG_SEIPD:
    case TAG_AEAD:
        return version == 1 || version == 2 ? OPENPGP_ENCRYPTED : OPENPGP_NONE;
    case TAG_LITERAL:
        *ret_content = literal_content(body);
        return *ret_content != NULL ? OPENPGP_OPENED : OPENPGP_NONE;
    case TAG_COMPRESSED:
        return look_at_compressed(body, room, depth, ret_content);
    default:
        return OPENPGP_NONE;
    }
}

static enum openpgp_kind
look_at_packets(const unsigned char *data, size_t len, size_t room, unsigned depth,
                GByteArray **ret_content)
{
    struct reader reader = {.at = data, .end = data + len};
    struct packet packet;
    bool keys = false;
    enum openpgp_kind kind = OPENPGP_NONE;
    bool more = true;
    while (more && read_packet(&reader, &packet)) {
        more = false;
        kind = look_at_packet(&packet, room, depth, &more, ret_content);
        if (packet.tag == TAG_ENCRYPTED && keys) {
            kind = OPENPGP_ENCRYPTED;
        }
        keys |= packet.tag == TAG_PKESK || packet.tag == TAG_SKESK;
        g_byte_array_unref(packet.body);
    }
    return kind == OPENPGP_ENCRYPTED && left(&reader) > 0 ? OPENPGP_NONE : kind;
}

/* The base64 of an armored message (RFC 4880, 6.2): between the empty line and the checksum. */
static GByteArray *
dearmor(const unsigned char *armor, size_t len)
{
    const char *text = (const char *)armor;
    const char *const gaps[] = {"\n\n", "\r\n\r\n"};
    const char *begin = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(gaps); i++) {
        const char *gap = memmem(text, len, gaps[i], strlen(gaps[i]));
        if (gap != NULL && (begin == NULL || gap < begin)) {
            begin = gap + strlen(gaps[i]);
        }
    }
    if (begin == NULL) {
        return NULL;
    }
    size_t rest = len - (size_t)(begin - text);
    const char *check = memmem(begin, rest, "\n=", 2);
    const char *end = memmem(begin, rest, "\n-----", 6);
    end = check != NULL && (end == NULL || check < end) ? check : end;
    GByteArray *bytes = g_byte_array_new();
    base64_decode((const unsigned char *)begin, end != NULL ? (size_t)(end - begin) : rest, bytes);
    return bytes;
}

/* The next armor header line from *AT on, "MESSAGE-----" and so on; NULL = there is none. */
static const unsigned char *
next_armor(const unsigned char *data, size_t len, size_t *at)
{
    static const char mark[] = "-----BEGIN PGP ";
    while (*at < len) {
        const unsigned char *found = memmem(data + *at, len - *at, mark, sizeof mark - 1);
        if (found == NULL) {
            return NULL;
        }
        *at = (size_t)(found - data) + sizeof mark - 1;
        if (found == data || found[-1] == '\n' || found[-1] == '\r') {
            return data + *at;
        }
    }
    return NULL;
}

static bool
begins_with(const unsigned char *data, size_t len, const char *word)
{
    return len >= strlen(word) && memcmp(data, word, strlen(word)) == 0;
}

static enum openpgp_kind
look_at_armor(const unsigned char *data, size_t len, size_t room, GByteArray **ret_content)
{
    enum openpgp_kind kind = OPENPGP_NONE;
    size_t at = 0;
    const unsigned char *armor;
    while ((armor = next_armor(data, len, &at)) != NULL) {
        if (begins_with(armor, len - at, "MESSAGE-----")) {
            g_autoptr(GByteArray) bytes = dearmor(armor, len - at);
            kind = bytes != NULL ? look_at_packets(bytes->data, bytes->len, room, 0, ret_content)
                                 : OPENPGP_NONE;
            return kind == OPENPGP_NONE ? OPENPGP_ENCRYPTED : kind;
        }
        if (begins_with(armor, len - at, "SIGNED MESSAGE-----")) {
            kind = OPENPGP_SIGNED;
        }
    }
    return kind;
}

enum openpgp_kind
openpgp_look(const unsigned char *data, size_t len, size_t room, GByteArray **ret_content)
{
    *ret_content = NULL;
    if (len > 0 && (data[0] & 0x80) != 0) {
        enum openpgp_kind kind = look_at_packets(data, len, room, 0, ret_content);
        if (kind != OPENPGP_NONE) {
            return kind;
        }
    }
    return look_at_armor(data, len, room, ret_content);
}

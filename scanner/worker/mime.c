/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "mime.h"

#include <string.h>
#include <gmime/gmime.h>
#include <openssl/evp.h>

#include "base64.h"
#include "inline.h"
#include "smime.h"
#include "text.h"

/* How far a header may lie behind leading blank lines or mbox lines. */
#define LOOK_AT 65536

/* Bytes of all leaves together, as a multiple of the message: more than base64 in base64 in ...
 * can make, but mails that contain each other as plain attachments could without end. */
#define LEAF_BYTES_FACTOR 4
#define LEAF_BYTES_BASE (1U << 20)

struct walk {
    struct facts *facts;
    GPtrArray *leaves;
    guint64 room; /* bytes that leaves may still take */
};

static void walk_object(struct walk *walk, GMimeObject *object, const char *path, unsigned depth);
static void walk_mail(struct walk *walk, const unsigned char *data, size_t len, const char *path,
                      unsigned depth);

/* How often GLib and GMime complained of themselves (assertions on their arguments). */
static unsigned complaints;

/* GLib's own writer asks whether stderr is the journal: no system call for a sandboxed worker. */
static GLogWriterOutput
count_complaint(GLogLevelFlags level, const GLogField *fields, gsize n_fields, void *data)
{
    (void)fields;
    (void)n_fields;
    (void)data;
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)) != 0) {
        complaints++;
    }
    return G_LOG_WRITER_HANDLED;
}

void
mime_init(void)
{
    static bool done;
    if (!done) {
        g_log_set_writer_func(count_complaint, NULL, NULL);
        g_mime_init();
        done = true;
    }
}

static void
leaf_free(void *p)
{
    struct mime_leaf *leaf = p;
    g_free(leaf->path);
    g_free(leaf->data);
    g_free(leaf);
}

/* A header field's name ends with a colon; spaces before it are obsolete but read by everybody. */
static bool
is_header_line(const unsigned char *line, size_t len)
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
mime_looks_like_mail(const unsigned char *data, size_t len)
{
    const unsigned char *end = data + MIN(len, LOOK_AT);
    while (data < end) {
        const unsigned char *eol = memchr(data, '\n', (size_t)(end - data));
        size_t line = (size_t)((eol != NULL ? eol : end) - data);
        if (is_header_line(data, line)) {
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

static char *
join(const char *path, int number)
{
    return *path == '\0' ? g_strdup_printf("%d", number) : g_strdup_printf("%s.%d", path, number);
}

static char *
type_of(GMimeObject *object)
{
    GMimeContentType *type = g_mime_object_get_content_type(object);
    return type != NULL ? g_mime_content_type_get_mime_type(type) : g_strdup("text/plain");
}

/* Base64, quoted-printable or uuencode, which a composite part may not have (RFC 2045, 6.4). */
static bool
is_encoded(GMimeObject *object)
{
    const char *header = g_mime_object_get_header(object, "Content-Transfer-Encoding");
    if (header == NULL) {
        return false;
    }
    GMimeContentEncoding encoding = g_mime_content_encoding_from_string(header);
    return encoding == GMIME_CONTENT_ENCODING_BASE64 ||
           encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
           encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

static void
describe(struct walk *walk, GMimeObject *object, const char *path, const struct mime_leaf *leaf)
{
    g_autofree char *type = type_of(object);
    g_autofree char *sha256 = leaf != NULL ? text_hex(leaf->sha256, sizeof leaf->sha256) : NULL;
    g_autofree char *filename = NULL;
    const char *name = GMIME_IS_PART(object) ? g_mime_part_get_filename(GMIME_PART(object)) : NULL;
    if (name != NULL) {
        filename = g_utf8_make_valid(name, -1);
    }
    struct part part = {
        .path = g_strdup(path),
        .type = type,
        .filename = filename,
        .size = leaf != NULL ? leaf->size : 0,
        .sha256 = sha256,
    };
    facts_add_part(walk->facts, &part);
    g_free(part.path);
}

/* Takes BYTES over. NULL when there are too many leaves already. */
static struct mime_leaf *
leaf_add(struct walk *walk, const char *path, GByteArray *bytes)
{
    bool too_many = walk->leaves->len >= MIME_LEAVES_MAX;
    if (too_many || bytes->len > walk->room) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT,
                            too_many ? "number of MIME parts" : "size of MIME parts", path);
        g_byte_array_unref(bytes);
        return NULL;
    }
    walk->room -= bytes->len;
    struct mime_leaf *leaf = g_new0(struct mime_leaf, 1);
    leaf->path = g_strdup(path);
    leaf->size = bytes->len;
    leaf->data = g_byte_array_free(bytes, FALSE);
    EVP_Digest(leaf->data, leaf->size, leaf->sha256, NULL, EVP_sha256(), NULL);
    g_ptr_array_add(walk->leaves, leaf);
    return leaf;
}

static GByteArray *
content_bytes(GMimeDataWrapper *content, bool decoded)
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

/* Some header of OBJECT, not only the one that counts, names ENCODING as a part of its value:
 * "base64;" and a second header are taken for base64 by some mail programs and not by others. */
static bool
is_rumoured(GMimeObject *object, const char *encoding)
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

static GByteArray *
quoted_printable_decode(const GByteArray *text)
{
    GMimeEncoding state;
    g_mime_encoding_init_decode(&state, GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    GByteArray *out = g_byte_array_new();
    g_byte_array_set_size(out, (guint)g_mime_encoding_outlen(&state, text->len));
    size_t n =
        g_mime_encoding_flush(&state, (const char *)text->data, text->len, (char *)out->data);
    return g_byte_array_set_size(out, (guint)n);
}

/* What mail programs that decode differently would see. */
static void
add_second_reading(struct walk *walk, GMimeObject *object, GMimeDataWrapper *content,
                   const char *path)
{
    GMimeContentEncoding encoding = g_mime_data_wrapper_get_encoding(content);
    bool base64 = is_rumoured(object, "base64");
    bool quoted = is_rumoured(object, "quoted-printable") &&
                  encoding != GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
    if (!base64 && !quoted) {
        return;
    }
    g_autoptr(GByteArray) text = content_bytes(content, false);
    if (base64 &&
        (encoding != GMIME_CONTENT_ENCODING_BASE64 || base64_resumes(text->data, text->len))) {
        GByteArray *bytes = g_byte_array_sized_new(text->len / 4 * 3 + 3);
        base64_decode(text->data, text->len, bytes);
        (void)leaf_add(walk, path, bytes);
    }
    if (quoted && text->len > 0) {
        (void)leaf_add(walk, path, quoted_printable_decode(text));
    }
}

struct inline_place {
    struct walk *walk;
    const char *path;
};

static void
on_inline(void *data, GByteArray *content)
{
    const struct inline_place *place = data;
    (void)leaf_add(place->walk, place->path, content);
}

static void
add_inline(struct walk *walk, const unsigned char *text, size_t len, const char *path)
{
    struct inline_place place = {.walk = walk, .path = path};
    inline_find(text, len, on_inline, &place);
}

static bool
is_message_type(GMimeObject *object)
{
    GMimeContentType *type = g_mime_object_get_content_type(object);
    return type != NULL && (g_mime_content_type_is_type(type, "message", "rfc822") ||
                            g_mime_content_type_is_type(type, "message", "global") ||
                            g_mime_content_type_is_type(type, "message", "news"));
}

/* A mail that is attached as a file, whatever its type: it opens with a click, and libclamav may
 * not know its first header. Without MIME headers its text is all there is. */
static bool
is_mail_file(const struct mime_leaf *leaf)
{
    const char *text = (const char *)leaf->data;
    gssize len = (gssize)MIN(leaf->size, LOOK_AT);
    if (!mime_looks_like_mail(leaf->data, leaf->size)) {
        return false;
    }
    const char *const ends[] = {"\n\n", "\r\n\r\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        const char *end = g_strstr_len(text, len, ends[i]);
        len = end != NULL ? end - text : len;
    }
    g_autofree char *head = g_ascii_strdown(text, len);
    return g_strstr_len(head, len, "content-t") != NULL;
}

/* RFC 4880, 6.2. */
static bool
has_pgp_message(const struct mime_leaf *leaf)
{
    static const char mark[] = "-----BEGIN PGP MESSAGE-----";
    const unsigned char *found = memmem(leaf->data, leaf->size, mark, sizeof mark - 1);
    return found != NULL && (found == leaf->data || found[-1] == '\n' || found[-1] == '\r');
}

/* Signed: what is in the signature is taken apart as a mail. Encrypted: nobody here can. */
static void
walk_smime(struct walk *walk, const struct mime_leaf *leaf, const char *path, unsigned depth)
{
    GByteArray *bytes = smime_signed_content(leaf->data, leaf->size);
    const struct mime_leaf *content = bytes != NULL ? leaf_add(walk, path, bytes) : NULL;
    if (content != NULL) {
        walk_mail(walk, content->data, content->size, path, depth);
        return;
    }
    enum smime_kind kind = smime_kind(leaf->data, leaf->size);
    if (kind == SMIME_ENCRYPTED) {
        facts_add_unscanned(walk->facts, CAUSE_END_TO_END, "S/MIME", path);
    } else if (kind == SMIME_OTHER) {
        facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED,
                            "S/MIME that is neither signed nor "
                            "encrypted",
                            path);
    }
}

static void
walk_leaf(struct walk *walk, GMimePart *part, const char *path, unsigned depth)
{
    GMimeObject *object = GMIME_OBJECT(part);
    GMimeDataWrapper *content = g_mime_part_get_content(part);
    struct mime_leaf *leaf = NULL;
    if (content != NULL) {
        leaf = leaf_add(walk, path, content_bytes(content, true));
    }
    describe(walk, object, path, leaf);
    if (leaf == NULL) {
        return;
    }
    add_second_reading(walk, object, content, path);
    if (leaf->size == 0) {
        return;
    }
    if (is_encoded(object)) {
        add_inline(walk, leaf->data, leaf->size, path);
    }
    g_autofree char *type = type_of(object);
    if (is_message_type(object) || is_mail_file(leaf)) {
        walk_mail(walk, leaf->data, leaf->size, path, depth);
    } else if (smime_is_named(type, g_mime_part_get_filename(part))) {
        walk_smime(walk, leaf, path, depth);
    }
    if (has_pgp_message(leaf)) {
        facts_add_unscanned(walk->facts, CAUSE_END_TO_END, "OpenPGP", path);
    }
}

static void
walk_message(struct walk *walk, GMimeMessage *message, const char *path, unsigned depth)
{
    GMimeObject *body = message != NULL ? g_mime_message_get_mime_part(message) : NULL;
    if (body == NULL) {
        return;
    }
    /* As in IMAP: a message's multipart has no number of its own, its only part is number 1. */
    g_autofree char *inner = GMIME_IS_MULTIPART(body) ? g_strdup(path) : join(path, 1);
    walk_object(walk, body, inner, depth);
}

static void
walk_multipart(struct walk *walk, GMimeMultipart *multipart, const char *path, unsigned depth)
{
    GMimeObject *object = GMIME_OBJECT(multipart);
    describe(walk, object, path, NULL);
    if (is_encoded(object)) {
        facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED, "multipart that is encoded as a whole",
                            path);
    }
    int n = g_mime_multipart_get_count(multipart);
    for (int i = 0; i < n; i++) {
        g_autofree char *inner = join(path, i + 1);
        walk_object(walk, g_mime_multipart_get_part(multipart, i), inner, depth);
    }
}

static void
walk_object(struct walk *walk, GMimeObject *object, const char *path, unsigned depth)
{
    if (depth >= MIME_DEPTH_MAX) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "depth of MIME parts", path);
    } else if (GMIME_IS_MULTIPART(object)) {
        walk_multipart(walk, GMIME_MULTIPART(object), path, depth + 1);
    } else if (GMIME_IS_MESSAGE_PART(object)) {
        describe(walk, object, path, NULL);
        walk_message(walk, g_mime_message_part_get_message(GMIME_MESSAGE_PART(object)), path,
                     depth + 1);
    } else if (GMIME_IS_PART(object)) {
        if (GMIME_IS_MESSAGE_PARTIAL(object)) {
            facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED,
                                "fragment of a message (message/partial)", path);
        }
        walk_leaf(walk, GMIME_PART(object), path, depth + 1);
    }
}

static void
walk_mail(struct walk *walk, const unsigned char *data, size_t len, const char *path,
          unsigned depth)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer((const char *)data, len);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    walk_message(walk, message, path, depth);
    g_clear_object(&message);
    g_object_unref(parser);
    g_object_unref(stream);
}

/* A message without any header begins with the empty line: what follows is all of its body, and
 * signatures look for the beginnings of files. */
static void
add_headless_body(struct walk *walk, const unsigned char *data, size_t len)
{
    size_t skip = len > 0 && data[0] == '\r' ? 1 : 0;
    if (len > skip + 1 && data[skip] == '\n') {
        GByteArray *body = g_byte_array_new();
        g_byte_array_append(body, data + skip + 1, (guint)(len - skip - 1));
        (void)leaf_add(walk, "1", body);
    }
}

GPtrArray *
mime_parse(const unsigned char *data, size_t len, struct facts *facts)
{
    struct walk walk = {
        .facts = facts,
        .leaves = g_ptr_array_new_with_free_func(leaf_free),
        .room = LEAF_BYTES_FACTOR * (guint64)len + LEAF_BYTES_BASE,
    };
    unsigned before = complaints;
    if (mime_looks_like_mail(data, len)) {
        walk_mail(&walk, data, len, "", 0);
    } else {
        add_headless_body(&walk, data, len);
    }
    add_inline(&walk, data, len, "");
    if (complaints != before) {
        facts_add_unscanned(facts, CAUSE_DAMAGED, "MIME structure that the parser stumbles over",
                            "");
    }
    return walk.leaves;
}

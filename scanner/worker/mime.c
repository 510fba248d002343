/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "mime.h"

#include <string.h>
#include <gmime/gmime.h>

#include "base64.h"
#include "bounds.h"
#include "complaints.h"
#include "defects.h"
#include "entity.h"
#include "inline.h"
#include "openpgp.h"
#include "readings.h"
#include "smime.h"
#include "text.h"
#include "warnings.h"

/* Bytes of all leaves together, as a multiple of the message: more than base64 in base64 in ...
 * can make, but mails that contain each other as plain attachments could without end. */
#define LEAF_BYTES_FACTOR 4
#define LEAF_BYTES_BASE (1U << 20)

/* One text that GMime parses. */
struct source {
    const char *data;
    size_t len;
    bool in_place;         /* it is the raw message: offsets in it are offsets there */
    GPtrArray *boundaries; /* of char *, each once, of its multiparts */
    struct warnings warnings;
};

/* Boundaries that are compared with lines; a mail with more is read otherwise too. */
#define BOUNDARIES_MAX 64
/* Entities that other readings look at. */
#define ENTITIES_MAX (10 * MIME_LEAVES_MAX)

struct walk {
    struct facts *facts;
    struct leaves leaves;
    struct source *source; /* the innermost */
    const char *boundary;  /* of the multipart around, NULL = none */
    unsigned signatures;   /* around the part */
    unsigned entities;     /* seen by other readings */
    bool odd;              /* programs disagree about which parts there are */
};

static void walk_object(struct walk *walk, GMimeObject *object, const char *path, unsigned depth);
static void walk_mail(struct walk *walk, const unsigned char *data, size_t len, const char *path,
                      unsigned depth);

void
mime_init(void)
{
    static bool done;
    if (!done) {
        complaints_begin();
        g_mime_init();
        done = true;
    }
}

static char *
join(const char *path, int number)
{
    return *path == '\0' ? g_strdup_printf("%d", number) : g_strdup_printf("%s.%d", path, number);
}

/* LEAF: its content, NULL = it has none of its own. */
static struct part *
describe(struct walk *walk, GMimeObject *object, const char *path, const struct mime_leaf *leaf)
{
    g_autofree char *type = entity_type(object);
    g_autofree char *sha256 = leaf != NULL ? text_hex(leaf->sha256, sizeof leaf->sha256) : NULL;
    g_autofree char *filename = entity_filename(object);
    g_autofree char *copy = g_strdup(path);
    const struct part part = {
        .path = copy,
        .type = type,
        .filename = filename,
        .size = leaf != NULL ? leaf->size : 0,
        .sha256 = sha256,
        .signed_ = walk->signatures > 0 || GMIME_IS_MULTIPART_SIGNED(object),
    };
    warnings_add_start(&walk->source->warnings, entity_offset(object), path);
    struct part *known = facts_add_part(walk->facts, &part);
    walk->odd |= entity_defects(object, walk->facts, path);
    return known;
}

/* Something in PATH that no MIME header describes. */
static void
describe_object(struct walk *walk, const struct mime_leaf *leaf, const char *type,
                const char *filename)
{
    g_autofree char *sha256 = text_hex(leaf->sha256, sizeof leaf->sha256);
    g_autofree char *path = g_strdup(leaf->path);
    g_autofree char *type_copy = g_strdup(type);
    g_autofree char *name_copy = g_strdup(filename);
    const struct part part = {
        .path = path,
        .type = type_copy,
        .filename = name_copy,
        .size = leaf->size,
        .sha256 = sha256,
    };
    (void)facts_add_part(walk->facts, &part);
}

static struct mime_leaf *
leaf_add(struct walk *walk, const char *path, GByteArray *bytes)
{
    return leaves_add(&walk->leaves, path, bytes, walk->facts);
}

/* What mail programs that decode differently would see. */
static void
add_second_reading(struct walk *walk, GMimeObject *object, GMimeDataWrapper *content,
                   const char *path)
{
    GMimeContentEncoding encoding = g_mime_data_wrapper_get_encoding(content);
    bool base64 = entity_is_rumoured(object, "base64");
    bool quoted = entity_is_rumoured(object, "quoted-printable");
    if (!base64 && !quoted) {
        return;
    }
    g_autoptr(GByteArray) text = entity_content(content, false);
    if (base64 &&
        (encoding != GMIME_CONTENT_ENCODING_BASE64 || base64_resumes(text->data, text->len))) {
        GByteArray *bytes = g_byte_array_sized_new(text->len / 4 * 3 + 3);
        base64_decode(text->data, text->len, bytes);
        (void)leaf_add(walk, path, bytes);
    }
    if (quoted && text->len > 0 &&
        (encoding != GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE || entity_has_loose_break(text))) {
        (void)leaf_add(walk, path, entity_decode_quoted(text));
    }
}

struct inline_place {
    struct walk *walk;
    const char *path;
    unsigned found;
};

static void
on_inline(void *data, GByteArray *content)
{
    struct inline_place *place = data;
    g_autofree char *path = g_strdup_printf("%s/%u", place->path, ++place->found);
    const struct mime_leaf *leaf = leaf_add(place->walk, path, content);
    if (leaf != NULL) {
        describe_object(place->walk, leaf, "", NULL);
    }
}

static void
add_inline(struct walk *walk, const unsigned char *text, size_t len, const char *path)
{
    struct inline_place place = {.walk = walk, .path = path};
    inline_find(text, len, on_inline, &place);
}

static void
mark_signed(struct walk *walk, const char *path)
{
    struct part *part = facts_find_part(walk->facts, path);
    if (part != NULL) {
        part->signed_ = true;
    }
}

/* Whether programs disagree about its parts is told of itself too: offsets are its own. */
static void
walk_inner_mail(struct walk *walk, struct mime_leaf *leaf, const char *path, unsigned depth)
{
    bool odd = walk->odd;
    walk->odd = false;
    walk_mail(walk, leaf->data, leaf->size, path, depth);
    leaf->is_odd = walk->odd;
    walk->odd |= odd;
}

/* Signed: what is in the signature is taken apart as a mail. Encrypted: nobody here can. */
static void
walk_smime(struct walk *walk, const struct mime_leaf *leaf, const char *path, unsigned depth)
{
    GByteArray *bytes = smime_signed_content(leaf->data, leaf->size);
    if (bytes != NULL) {
        mark_signed(walk, path);
    }
    struct mime_leaf *content = bytes != NULL ? leaf_add(walk, path, bytes) : NULL;
    if (content != NULL) {
        walk->signatures++;
        walk_inner_mail(walk, content, path, depth);
        walk->signatures--;
        return;
    }
    enum smime_kind kind = smime_kind(leaf->data, leaf->size);
    if (kind == SMIME_ENCRYPTED) {
        facts_add_unscanned(walk->facts, CAUSE_END_TO_END, "S/MIME", path);
    } else if (kind == SMIME_OTHER) {
        facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED,
                            "S/MIME that is neither signed nor encrypted", path);
    }
}

/* Signed or only packed: anybody can open it. Encrypted: nobody here can. */
static void
look_at_openpgp(struct walk *walk, const struct mime_leaf *leaf, const char *path)
{
    GByteArray *content = NULL;
    enum openpgp_kind kind =
        openpgp_look(leaf->data, leaf->size, (size_t)MIN(walk->leaves.room, G_MAXUINT), &content);
    if (kind == OPENPGP_ENCRYPTED) {
        facts_add_unscanned(walk->facts, CAUSE_END_TO_END, "OpenPGP", path);
    } else if (kind == OPENPGP_UNOPENED) {
        facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED,
                            "OpenPGP message that is not encrypted and cannot be unpacked", path);
    } else if (kind == OPENPGP_SIGNED) {
        mark_signed(walk, path);
    }
    if (content != NULL) {
        g_autofree char *inner = g_strdup_printf("%s/1", path);
        mark_signed(walk, path);
        leaf = leaf_add(walk, inner, content);
        if (leaf != NULL) {
            describe_object(walk, leaf, "", NULL);
        }
    }
}

/* What its content turns out to be. */
static void
walk_content(struct walk *walk, GMimeObject *object, struct mime_leaf *leaf, const char *path,
             unsigned depth)
{
    g_autofree char *type = entity_type(object);
    g_autofree char *filename = entity_filename(object);
    if (entity_is_encoded(object)) {
        add_inline(walk, leaf->data, leaf->size, path);
    }
    if (entity_is_message(object) || reading_is_mime_mail(leaf->data, leaf->size)) {
        leaf->is_mail = true;
        walk_inner_mail(walk, leaf, path, depth);
    } else if (smime_is_named(type, filename)) {
        walk_smime(walk, leaf, path, depth);
    }
    look_at_openpgp(walk, leaf, path);
}

/* A part that only another reading finds has no number. */
static void
walk_other_leaf(struct walk *walk, GMimeObject *object, unsigned depth)
{
    GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(object));
    struct mime_leaf *leaf =
        content != NULL ? leaf_add(walk, "", entity_content(content, true)) : NULL;
    if (leaf != NULL) {
        g_autofree char *type = entity_type(object);
        g_autofree char *filename = entity_filename(object);
        g_autofree char *path = g_strdup(leaf->path);
        describe_object(walk, leaf, type, filename);
        walk_content(walk, object, leaf, path, depth);
    }
    if (content != NULL) {
        add_second_reading(walk, object, content, "");
    }
}

static void
walk_leaf(struct walk *walk, GMimePart *part, const char *path, unsigned depth)
{
    GMimeObject *object = GMIME_OBJECT(part);
    GMimeDataWrapper *content = g_mime_part_get_content(part);
    struct mime_leaf *leaf = NULL;
    if (walk->facts->parts->len >= FACTS_PARTS_MAX && leaves_are_full(&walk->leaves)) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "number of MIME parts", path);
        walk->facts->parts_total++;
        return;
    }
    if (content != NULL) {
        leaf = leaf_add(walk, path, entity_content(content, true));
    }
    struct part *known = describe(walk, object, path, leaf);
    if (leaf == NULL) {
        return;
    }
    leaf->is_body = entity_is_body(object);
    if (known != NULL && walk->source->in_place) {
        entity_map(part, walk->source->data, walk->source->len, walk->boundary, known);
    }
    if (entity_has_bad_base64(content)) {
        facts_add_defect(walk->facts, DEFECT_BASE64, path);
    }
    add_second_reading(walk, object, content, path);
    if (leaf->size > 0) {
        walk_content(walk, object, leaf, path, depth);
    }
}

static void
walk_message(struct walk *walk, GMimeMessage *message, const char *path, unsigned depth)
{
    GMimeObject *body = message != NULL ? g_mime_message_get_mime_part(message) : NULL;
    if (body == NULL) {
        return;
    }
    const char *boundary = g_steal_pointer(&walk->boundary);
    /* As in IMAP: a message's multipart has no number of its own, its only part is number 1. */
    g_autofree char *inner = GMIME_IS_MULTIPART(body) ? g_strdup(path) : join(path, 1);
    walk_object(walk, body, inner, depth);
    walk->boundary = boundary;
}

static void
look_around(struct walk *walk, GMimeMultipart *multipart, const char *path)
{
    const struct {
        const char *text;
        const char *defect;
    } places[] = {
        {g_mime_multipart_get_prologue(multipart), DEFECT_PREAMBLE},
        {g_mime_multipart_get_epilogue(multipart), DEFECT_EPILOGUE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        if (defect_mime_headers(places[i].text)) {
            facts_add_defect(walk->facts, places[i].defect, path);
            walk->odd = true;
        }
    }
    if (entity_is_encoded(GMIME_OBJECT(multipart))) {
        facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED, "multipart that is encoded as a whole",
                            path);
    }
}

static void
look_at_delimiters(struct walk *walk, const struct source *source, const char *path)
{
    if (source->boundaries->len > BOUNDARIES_MAX) {
        walk->odd = true;
    } else if (source->boundaries->len > 0 &&
               reading_has_longer_delimiter((const unsigned char *)source->data, source->len,
                                            source->boundaries)) {
        facts_add_defect(walk->facts, DEFECT_DELIMITER, path);
        walk->odd = true;
    }
}

static void
walk_multipart(struct walk *walk, GMimeMultipart *multipart, const char *path, unsigned depth)
{
    GMimeObject *object = GMIME_OBJECT(multipart);
    const char *boundary = walk->boundary;
    bool is_signed = GMIME_IS_MULTIPART_SIGNED(object);
    guint unscanned = walk->facts->unscanned->len;
    if (walk->leaves.another == NULL) {
        (void)describe(walk, object, path, NULL);
    }
    look_around(walk, multipart, path);
    entity_note_boundary(object, walk->source->boundaries, BOUNDARIES_MAX);
    walk->signatures += is_signed ? 1 : 0;
    int n = g_mime_multipart_get_count(multipart);
    for (int i = 0; i < n; i++) {
        g_autofree char *inner = join(path, i + 1);
        walk->boundary = g_mime_multipart_get_boundary(multipart);
        walk_object(walk, g_mime_multipart_get_part(multipart, i), inner, depth);
    }
    walk->boundary = boundary;
    walk->signatures -= is_signed ? 1 : 0;
    if (GMIME_IS_MULTIPART_ENCRYPTED(object) && walk->facts->unscanned->len == unscanned) {
        facts_add_unscanned(walk->facts, CAUSE_END_TO_END, "multipart/encrypted", path);
    }
}

/* A mail in the mail is taken apart with it, and is a file that can be saved. */
static void
add_message(struct walk *walk, GMimeMessage *message, const char *path)
{
    size_t len;
    const struct source *source = walk->source;
    size_t at = entity_message_in(message, source->data, source->len, walk->boundary, &len);
    const unsigned char *data = (const unsigned char *)source->data + at;
    struct mime_leaf *leaf = NULL;
    if (len > 0 && walk->leaves.another == NULL) {
        leaf = leaves_lend(&walk->leaves, path, data, len, walk->facts);
    } else if (len > 0) {
        leaf = leaf_add(walk, path, g_byte_array_append(g_byte_array_new(), data, (guint)len));
    }
    if (leaf != NULL) {
        leaf->is_message = true;
    }
}

static void
walk_message_part(struct walk *walk, GMimeObject *object, const char *path, unsigned depth)
{
    GMimeMessage *message = g_mime_message_part_get_message(GMIME_MESSAGE_PART(object));
    if (walk->leaves.another == NULL) {
        (void)describe(walk, object, path, NULL);
    }
    if (message != NULL) {
        add_message(walk, message, path);
    }
    walk_message(walk, message, path, depth);
}

static void
walk_object(struct walk *walk, GMimeObject *object, const char *path, unsigned depth)
{
    if (depth >= MIME_DEPTH_MAX) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "depth of MIME parts", path);
    } else if (GMIME_IS_MULTIPART(object)) {
        walk_multipart(walk, GMIME_MULTIPART(object), path, depth + 1);
    } else if (GMIME_IS_MESSAGE_PART(object)) {
        walk_message_part(walk, object, path, depth + 1);
    } else if (GMIME_IS_PART(object)) {
        if (GMIME_IS_MESSAGE_PARTIAL(object)) {
            facts_add_unscanned(walk->facts, CAUSE_UNSUPPORTED,
                                "fragment of a message (message/partial)", path);
        }
        if (walk->leaves.another != NULL) {
            walk_other_leaf(walk, object, depth + 1);
        } else {
            walk_leaf(walk, GMIME_PART(object), path, depth + 1);
        }
    }
}

static void
walk_mail(struct walk *walk, const unsigned char *data, size_t len, const char *path,
          unsigned depth)
{
    const char *too_much = bounds_exceeded(data, len);
    if (too_much != NULL) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, too_much, path);
        return;
    }
    struct source *outer = walk->source;
    const char *boundary = g_steal_pointer(&walk->boundary);
    struct source source = {
        .data = (const char *)data,
        .len = len,
        .in_place = outer == NULL && walk->leaves.another == NULL,
        .boundaries = g_ptr_array_new_with_free_func(g_free),
    };
    warnings_begin(&source.warnings);
    walk->source = &source;
    GMimeParserOptions *options = g_mime_parser_options_new();
    g_mime_parser_options_set_warning_callback(options, warnings_on_warning, &source.warnings);
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer((const char *)data, len);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, options);
    walk_message(walk, message, path, depth);
    look_at_delimiters(walk, &source, path);
    g_ptr_array_unref(source.boundaries);
    walk->odd |= source.warnings.structural;
    warnings_end(&source.warnings, path, walk->facts);
    g_clear_object(&message);
    g_object_unref(parser);
    g_object_unref(stream);
    g_mime_parser_options_free(options);
    walk->source = outer;
    walk->boundary = boundary;
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
        const struct mime_leaf *leaf = leaf_add(walk, "1", body);
        if (leaf != NULL) {
            describe_object(walk, leaf, "text/plain", NULL);
            facts_add_defect(walk->facts, DEFECT_NO_HEADERS, "1");
        }
    }
}

/* Returns false when there is too much to take apart. */
static bool
look_at_bytes(struct walk *walk, const unsigned char *data, size_t len)
{
    struct defect_bytes bytes = defect_bytes(data, len);
    const struct {
        const char *name;
        bool is;
        bool structural;
    } defects[] = {
        {DEFECT_NUL, bytes.nul, true},
        {DEFECT_BARE_CR, bytes.bare_cr && !bytes.lf_cr, true},
        {DEFECT_LF_CR, bytes.lf_cr, true},
        {DEFECT_LONG_LINE, bytes.long_line, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(defects); i++) {
        if (defects[i].is) {
            facts_add_defect(walk->facts, defects[i].name, "");
            walk->odd |= defects[i].structural;
        }
    }
    if (bytes.delimiters > BOUNDS_DELIMITERS_MAX) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "number of MIME parts", "");
        return false;
    }
    return true;
}

static void
on_entity(void *data, GByteArray *entity, bool blank)
{
    struct walk *walk = data;
    if (!blank) {
        facts_add_defect(walk->facts, DEFECT_NO_BLANK_LINE, walk->leaves.another);
    }
    if (leaves_are_full(&walk->leaves) || ++walk->entities > ENTITIES_MAX) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "number of MIME parts", walk->leaves.another);
    } else {
        walk_mail(walk, entity->data, entity->len, "", 0);
    }
    g_byte_array_unref(entity);
}

static void
find_entities(struct walk *walk, const unsigned char *data, size_t len, const char *path)
{
    if (!reading_entities(data, len, on_entity, walk)) {
        facts_add_unscanned(walk->facts, CAUSE_LIMIT, "size of MIME parts", path);
    }
}

/* Whatever else could be a part. Then nothing of the message is clearly mapped. */
static void
read_otherwise(struct walk *walk, const unsigned char *data, size_t len)
{
    for (guint i = 0; i < walk->facts->parts->len; i++) {
        struct part *part = g_ptr_array_index(walk->facts->parts, i);
        part->from = part->body_from = part->to = 0;
    }
    find_entities(walk, data, len, "");
}

static void
complain(struct facts *facts, unsigned before, const char *path)
{
    if (complaints_number() != before) {
        facts_add_unscanned(facts, CAUSE_DAMAGED, "MIME structure that the parser stumbles over",
                            path);
    }
}

GPtrArray *
mime_parse(const unsigned char *data, size_t len, struct facts *facts)
{
    guint64 room = LEAF_BYTES_FACTOR * (guint64)len + LEAF_BYTES_BASE;
    struct walk walk = {.facts = facts, .leaves = leaves_begin(leaves_list_new(), room)};
    unsigned before = complaints_number();
    if (reading_is_mail(data, len)) {
        if (look_at_bytes(&walk, data, len)) {
            walk_mail(&walk, data, len, "", 0);
        }
    } else {
        add_headless_body(&walk, data, len);
    }
    add_inline(&walk, data, len, "");
    if (walk.odd) {
        leaves_read_again(&walk.leaves, "");
        read_otherwise(&walk, data, len);
    }
    complain(facts, before, "");
    return walk.leaves.list;
}

void
mime_parse_more(const unsigned char *data, size_t len, const char *path, GPtrArray *leaves,
                struct facts *facts)
{
    guint64 room = LEAF_BYTES_FACTOR * (guint64)len + LEAVES_BYTES_IN_ARCHIVES;
    struct walk walk = {.facts = facts, .leaves = leaves_begin(leaves, room)};
    unsigned before = complaints_number();
    leaves_read_again(&walk.leaves, path);
    if (defect_bytes(data, len).delimiters > BOUNDS_DELIMITERS_MAX) {
        facts_add_unscanned(facts, CAUSE_LIMIT, "number of MIME parts", path);
        return;
    }
    walk_mail(&walk, data, len, path, 0);
    add_inline(&walk, data, len, path);
    if (walk.odd) {
        find_entities(&walk, data, len, path);
    }
    complain(facts, before, path);
}

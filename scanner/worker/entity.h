/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ENTITY_H
#define ENTITY_H

/*
 * What GMime says of one MIME entity: names, types, encodings, where it stands. With mime.c the
 * only file that includes GMime's objects.
 */

#include <stdbool.h>
#include <gmime/gmime.h>

#include "facts.h"

/* "application/zip"; "text/plain" when it says nothing. The caller frees. */
char *entity_type(GMimeObject *object);

/* The file name as UTF-8, RFC 2231 and 2047 decoded, or NULL. The caller frees. */
char *entity_filename(GMimeObject *object);

/* message/rfc822 and its relatives. */
bool entity_is_message(GMimeObject *object);
/* Plain text or HTML that mail programs show as the mail's text: it has no name and is not called
 * an attachment. Other kinds of text are shown as files even so. */
bool entity_is_body(GMimeObject *object);

/* Base64, quoted-printable or uuencode, which a composite part may not have (RFC 2045, 6.4). */
bool entity_is_encoded(GMimeObject *object);

/* Some header of OBJECT, not only the one that counts, names ENCODING as a part of its value:
 * "base64;" and a second header are taken for base64 by some mail programs and not by others. */
bool entity_is_rumoured(GMimeObject *object, const char *encoding);

/* The content, decoded or as it is. The caller frees. */
GByteArray *entity_content(GMimeDataWrapper *content, bool decoded);
/* Blanks at the end of lines are not part of the text (RFC 2045, 6.7): "= " breaks a line too,
 * which GMime does not know. */
GByteArray *entity_decode_quoted(const GByteArray *text);
bool entity_has_loose_break(const GByteArray *text);

/* It is base64, and what stands there is not (defects.h). */
bool entity_has_bad_base64(GMimeDataWrapper *content);

/* Adds the defects of its headers to those of the part PATH. Returns true when one of them makes it
 * doubtful which parts there are. */
bool entity_defects(GMimeObject *object, struct facts *facts, const char *path);

/* Adds MULTIPART's boundary to BOUNDARIES (of char *), each once, and not above one more than MAX.
 */
void entity_note_boundary(GMimeObject *multipart, GPtrArray *boundaries, guint max);

/*
 * Where a mail in the mail lies in the LEN bytes at DATA that it was read from: headers and body,
 * up to the next delimiter of BOUNDARY, NULL = to the end. *RET_LEN 0: it cannot be told.
 */
size_t entity_message_in(GMimeMessage *message, const char *data, size_t len, const char *boundary,
                         size_t *ret_len);

/* Where its headers begin, -1 = unknown. */
gint64 entity_offset(GMimeObject *object);

/*
 * Sets PART's range to that of the entity OBJECT in the LEN bytes at DATA which it was parsed from,
 * if it can be seen there: its headers begin right behind a delimiter line of BOUNDARY, an empty
 * line ends them, and another delimiter ends the body. BOUNDARY = NULL: it is the whole message.
 */
void entity_map(GMimePart *object, const char *data, size_t len, const char *boundary,
                struct part *part);

#endif

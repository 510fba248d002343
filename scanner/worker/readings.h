/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef READINGS_H
#define READINGS_H

/*
 * How a mail can be read by programs that are more lenient than GMime and libclamav. Nothing here
 * decides: what such a reading yields is scanned beside the rest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <glib.h>

/* LEN bytes at DATA begin as a mail does: with a header line (or mbox's "From "). */
bool reading_is_mail(const unsigned char *data, size_t len);

/* ... and some header says of which type its content is. Without such headers, a mail's text is all
 * there is. */
bool reading_is_mime_mail(const unsigned char *data, size_t len);

/* There are NULs in it, or line ends that are neither LF nor CR LF. */
bool reading_is_odd(const unsigned char *data, size_t len);

/*
 * The mail with LF as the only line end, whether lines ended with CR, LF CR or CR LF, and without
 * NULs.
 */
GByteArray *reading_normalised(const unsigned char *data, size_t len);

/*
 * A line begins with "--" and one of BOUNDARIES (char *) and goes on, and is none of the others: to
 * RFC 2046, 5.1.1, and to some IMAP servers, it is a delimiter; most programs want the whole line.
 */
bool reading_has_longer_delimiter(const unsigned char *data, size_t len,
                                  const GPtrArray *boundaries);

/* ENTITY, the receiver's: headers, an empty line, the body. BLANK: the empty line was there. */
typedef void reading_found(void *data, GByteArray *entity, bool blank);

/*
 * Calls FOUND for everything that looks like a MIME entity: at the beginning, or behind a line
 * that begins with "--", whatever boundaries were declared and wherever the multipart should have
 * ended; header lines, one of them a MIME header, and then the body up to the next such line,
 * whether an empty line stands in between or not; and up to the next line that begins like the one
 * before the headers, where that is another. Takes linear time. Returns false when that was too
 * much: some were seen only up to the next line.
 */
bool reading_entities(const unsigned char *data, size_t len, reading_found *found,
                      void *found_data);

#endif

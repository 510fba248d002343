/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INLINE_H
#define INLINE_H

/*
 * Files in the middle of text, as mail carried them before MIME and mail programs still show them
 * as attachments: uuencode (POSIX uuencode(1), also its base64 form), yEnc (yenc-draft 1.3) and
 * BinHex 4.0 (RFC 1741); and the files in calendars (RFC 5545) and cards (RFC 2426). libclamav
 * decodes some of these, but only in what it takes for a mail, and it does not take a mail for one
 * whose first header it does not know.
 */

#include <stddef.h>
#include <glib.h>

/* CONTENT is the receiver's: the decoded file; for BinHex its text, which libclamav decodes. */
typedef void inline_found(void *data, GByteArray *content);

/*
 * Calls FOUND for every such file in the LEN bytes at TEXT, however damaged, if any of it could be
 * decoded. Lines that do not belong are passed over, a missing end is the end of the text. Takes
 * linear time.
 */
void inline_find(const unsigned char *text, size_t len, inline_found *found, void *data);

#endif

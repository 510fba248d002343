/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BOUNDS_H
#define BOUNDS_H

/*
 * What a mail's parsers bear, looked at before they begin. GMime and libclamav keep an object for
 * each header line, and libclamav makes a temporary file for each uuencoded block without a glance
 * at the clock: five million header lines, 40 MB of mail, cost a worker its memory, three million
 * blocks its time; header parameters take 200 times their size.
 * No honest mail comes near these numbers.
 */

#include <stddef.h>

#define BOUNDS_HEADER_LINES 100000 /* in all header blocks together, folded lines too */
#define BOUNDS_HEADER_BYTES (4 << 20)
#define BOUNDS_GROUPS 1000      /* colons in one field of addresses */
#define BOUNDS_BLOCKS 1000      /* beginnings of files in the text: uuencode, yEnc, BinHex */
#define BOUNDS_BOUNDARIES 20000 /* lines like a boundary with a header behind */
#define BOUNDS_LINKS 10000      /* files in the links of an HTML page */

/*
 * What the LEN bytes at DATA have too many of ("number of header lines", static), or NULL. Takes
 * one pass; looks at lines alone, so it sees what is not encoded.
 */
const char *bounds_exceeded(const unsigned char *data, size_t len);

/* The same of a page, each of whose "data:" links becomes a file before libclamav looks at the
 * clock again. */
const char *bounds_exceeded_by_html(const unsigned char *data, size_t len);

/* Lines of a mail that could be delimiters: GMime needs 1.3 KB for each part. */
#define BOUNDS_DELIMITERS_MAX 500000

#endif

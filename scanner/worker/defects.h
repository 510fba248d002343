/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DEFECTS_H
#define DEFECTS_H

/*
 * What is wrong with a mail's structure, in words for facts and rules. A defect is no reason to
 * refuse a mail; but where it is STRUCTURAL, mail programs disagree about which parts there are, so
 * every reading has to be scanned (readings.h), and no byte range is certain.
 */

#include <stdbool.h>
#include <stddef.h>
#include <gmime/gmime.h>

/* Of the bytes. */
#define DEFECT_NUL "nul"               /* a NUL byte; structural */
#define DEFECT_BARE_CR "bare-cr"       /* CR without LF; structural */
#define DEFECT_LF_CR "lf-cr"           /* lines end with LF CR; structural */
#define DEFECT_LONG_LINE "long-line"   /* over 998 bytes (RFC 5322, 2.1.1) */
#define DEFECT_NO_HEADERS "no-headers" /* it begins with the body */
/* Of an entity. */
#define DEFECT_NO_BLANK_LINE "no-blank-line" /* between headers and body; structural */
#define DEFECT_EPILOGUE "epilogue"          /* MIME headers behind the last delimiter; structural */
#define DEFECT_PREAMBLE "preamble"          /* the same before the first; structural */
#define DEFECT_DELIMITER "longer-delimiter" /* a boundary and more in its line; structural */
#define DEFECT_TYPE_COMMENT "comment-in-type"        /* in Content-Type; structural */
#define DEFECT_ODD_ENCODING "odd-encoding"           /* an encoding that RFC 2045 does not know */
#define DEFECT_ENCODED_COMPOSITE "encoded-composite" /* RFC 2045, 6.4 */
#define DEFECT_BASE64 "invalid-base64"
#define DEFECT_TWO_NAMES "two-names" /* Content-Type and -Disposition differ */
#define DEFECT_ODD_NAME "odd-name"   /* control or direction characters in a file name */
/* As GMime's parser sees them: the names are in defects.c. */

/* Names a warning of GMime's parser; NULL = no defect of the structure. */
const char *defect_of_warning(GMimeParserWarning warning, bool *ret_structural);

struct defect_bytes {
    bool nul, bare_cr, lf_cr, long_line;
    size_t delimiters; /* lines that begin with "--" */
};
/* One pass over all bytes. */
struct defect_bytes defect_bytes(const unsigned char *data, size_t len);

/* What stands in a base64 body beside its alphabet and white space, or padding inside it. */
bool defect_base64(const unsigned char *text, size_t len);

/* NAME could be shown as something else than it is. */
bool defect_name(const char *name);

/* TEXT where no part should be, or NULL, has MIME headers. */
bool defect_mime_headers(const char *text);

/* VALUE of a Content-Type has a comment outside its quoted strings. */
bool defect_type_comment(const char *value);

#endif

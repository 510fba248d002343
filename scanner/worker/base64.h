/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BASE64_H
#define BASE64_H

/*
 * Base64 (RFC 4648) as lenient mail programs decode it: what is no digit is passed over, and after
 * padding the next group begins afresh.
 */

#include <stdbool.h>
#include <stddef.h>
#include <glib.h>

void base64_decode(const unsigned char *text, size_t len, GByteArray *out);

/* Digits follow after padding: decoders disagree about what comes then. */
bool base64_resumes(const unsigned char *text, size_t len);

#endif

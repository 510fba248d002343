/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

/*
 * Text from outside, made fit for a log line or a terminal: control characters, invalid UTF-8
 * and the backslash become \xNN; longer than MAX bytes is cut with "...". NULL gives "-".
 * The caller frees with g_free().
 */
char *text_escape(const char *raw, size_t max);

/* Sets *ERROR_R, NULL or an earlier one that is freed, to one sentence, to be freed by g_free().
 * Returns ERROR. */
int text_fail(char **error_r, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * "100M" -> bytes. Suffixes K M G (1024), none = bytes. Returns 0, -EINVAL (not a size) or
 * -ERANGE (does not fit).
 */
int text_size_parse(const char *text, unsigned long long *ret_bytes);

/* LEN bytes as lower-case hexadecimal; the caller frees with g_free(). */
char *text_hex(const unsigned char *bytes, size_t len);

#endif

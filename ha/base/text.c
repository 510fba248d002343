/* SPDX-License-Identifier: GPL-2.0-only */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>

/* Valid and printable UTF-8 at P: its length in bytes, else 0. */
static size_t
printable_length(const char *p, size_t left)
{
    gunichar c = g_utf8_get_char_validated(p, (gssize)left);
    if (c == (gunichar)-1 || c == (gunichar)-2 || c == '\\' || !g_unichar_isprint(c)) {
        return 0;
    }
    return (size_t)g_unichar_to_utf8(c, NULL);
}

char *
text_escape(const char *raw, size_t max)
{
    if (raw == NULL) {
        return g_strdup("-");
    }
    GString *out = g_string_new(NULL);
    size_t left = strlen(raw);
    while (left > 0 && out->len < max) {
        size_t n = printable_length(raw, left);
        if (n == 0) {
            g_string_append_printf(out, "\\x%02x", (unsigned char)*raw);
            n = 1;
        } else {
            g_string_append_len(out, raw, (gssize)n);
        }
        raw += n;
        left -= n;
    }
    if (left > 0) {
        g_string_append(out, "...");
    }
    return g_string_free(out, FALSE);
}

int
text_fail(char **error_r, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    g_free(*error_r);
    *error_r = text;
    va_end(args);
    return error;
}

int
text_size_parse(const char *text, unsigned long long *ret_bytes)
{
    static const char suffixes[] = "KMG";
    char *end = NULL;
    if (text == NULL || !g_ascii_isdigit(*text)) {
        return -EINVAL;
    }
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0) {
        return -ERANGE;
    }
    if (*end != '\0') {
        const char *suffix = strchr(suffixes, g_ascii_toupper(*end));
        if (suffix == NULL || end[1] != '\0') {
            return -EINVAL;
        }
        unsigned shift = 10U * (unsigned)(suffix - suffixes + 1);
        if (n > (~0ULL >> shift)) {
            return -ERANGE;
        }
        n <<= shift;
    }
    *ret_bytes = n;
    return 0;
}

char *
text_hex(const unsigned char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = g_malloc(2 * len + 1);
    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * len] = '\0';
    return hex;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "base64.h"

#include <string.h>

/* The value of a base64 digit; -1: padding, -2: to be skipped. */
static int
base64_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : c == '=' ? -1 : -2;
}

bool
base64_resumes(const unsigned char *text, size_t len)
{
    const unsigned char *end = text + len;
    const unsigned char *p = len > 0 ? memchr(text, '=', len) : NULL;
    while (p != NULL && p < end && base64_value(*p) < 0) {
        p++;
    }
    return p != NULL && p < end;
}

void
base64_decode(const unsigned char *text, size_t len, GByteArray *out)
{
    guint32 bits = 0;
    unsigned digits = 0;
    for (size_t i = 0; i < len; i++) {
        int value = base64_value(text[i]);
        if (value == -1) {
            digits = 0;
        } else if (value >= 0) {
            bits = bits << 6 | (guint32)value;
            if (digits++ % 4 > 0) {
                guint8 byte = (guint8)(bits >> (6 - 2 * ((digits - 1) % 4)));
                g_byte_array_append(out, &byte, 1);
            }
        }
    }
}

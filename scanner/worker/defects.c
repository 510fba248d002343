/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "defects.h"

#include <string.h>

#define LINE_MAX_LENGTH 998

const char *
defect_of_warning(GMimeParserWarning warning, bool *ret_structural)
{
    static const struct {
        const char *name;
        bool structural;
    } warnings[] = {
        [GMIME_WARN_DUPLICATED_HEADER] = {"duplicate-header", false},
        [GMIME_WARN_DUPLICATED_PARAMETER] = {"duplicate-parameter", false},
        [GMIME_WARN_UNENCODED_8BIT_HEADER] = {"8bit-header", false},
        [GMIME_WARN_INVALID_CONTENT_TYPE] = {"invalid-type", true},
        [GMIME_WARN_INVALID_RFC2047_HEADER_VALUE] = {"invalid-encoded-word", false},
        [GMIME_WARN_MALFORMED_MULTIPART] = {"no-parts", true},
        [GMIME_WARN_TRUNCATED_MESSAGE] = {"truncated", false},
        [GMIME_WARN_MALFORMED_MESSAGE] = {"malformed", true},
        [GMIME_CRIT_INVALID_HEADER_NAME] = {"invalid-header", true},
        [GMIME_CRIT_CONFLICTING_HEADER] = {"conflicting-header", true},
        [GMIME_CRIT_CONFLICTING_PARAMETER] = {"conflicting-parameter", true},
        [GMIME_CRIT_MULTIPART_WITHOUT_BOUNDARY] = {"no-boundary", true},
        [GMIME_WARN_INVALID_PARAMETER] = {"invalid-parameter", true},
        [GMIME_WARN_INVALID_ADDRESS_LIST] = {NULL, false},
        [GMIME_CRIT_NESTING_OVERFLOW] = {"nesting", true},
        [GMIME_WARN_PART_WITHOUT_CONTENT] = {"part-without-body", true},
        [GMIME_CRIT_PART_WITHOUT_HEADERS_OR_CONTENT] = {"empty-part", false},
    };
    if ((size_t)warning >= G_N_ELEMENTS(warnings)) {
        *ret_structural = true;
        return "malformed";
    }
    *ret_structural = warnings[warning].structural;
    return warnings[warning].name;
}

static void
look_at_cr(const unsigned char *data, size_t len, struct defect_bytes *bytes)
{
    const unsigned char *end = data + len;
    const unsigned char *p = data;
    while ((p = memchr(p, '\r', (size_t)(end - p))) != NULL) {
        if (p + 1 == end || p[1] != '\n') {
            bytes->bare_cr = true;
            bytes->lf_cr |= p > data && p[-1] == '\n';
            return;
        }
        p += 2;
    }
}

struct defect_bytes
defect_bytes(const unsigned char *data, size_t len)
{
    struct defect_bytes bytes = {0};
    const unsigned char *end = data + len;
    bytes.nul = memchr(data, '\0', len) != NULL;
    look_at_cr(data, len, &bytes);
    for (const unsigned char *line = data; line < end;) {
        const unsigned char *eol = memchr(line, '\n', (size_t)(end - line));
        const unsigned char *stop = eol != NULL ? eol : end;
        bytes.long_line |= stop - line > LINE_MAX_LENGTH + 1;
        bytes.delimiters += stop - line > 2 && line[0] == '-' && line[1] == '-';
        line = stop + 1;
    }
    return bytes;
}

static const bool base64_letter[256] = {
    ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['0' ... '9'] = true, ['+'] = true, ['/'] = true,
};

bool
defect_base64(const unsigned char *text, size_t len)
{
    bool padded = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = text[i];
        if (base64_letter[c]) {
            if (padded) {
                return true;
            }
        } else if (c == '=') {
            padded = true;
        } else if (c != '\n' && c != '\r' && c != ' ' && c != '\t') {
            return true;
        }
    }
    return false;
}

/* Controls, and the marks that turn the direction of what follows: "gpj.exe" shown as "exe.jpg"
 * (Unicode, UAX #9: U+202A to U+202E, U+2066 to U+2069). */
bool
defect_name(const char *name)
{
    const char *end = name + strlen(name);
    for (const char *p = name; p != NULL; p = g_utf8_find_next_char(p, end)) {
        gunichar c = p < end ? g_utf8_get_char(p) : ' ';
        if (c < ' ' || c == 0x7f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)) {
            return true;
        }
    }
    return false;
}

bool
defect_type_comment(const char *value)
{
    bool quoted = false;
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\\' && p[1] != '\0') {
            p++;
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (*p == '(' && !quoted) {
            return true;
        }
    }
    return false;
}

bool
defect_mime_headers(const char *text)
{
    g_autofree char *lower = text != NULL ? g_ascii_strdown(text, -1) : NULL;
    return lower != NULL &&
           (strstr(lower, "content-t") != NULL || strstr(lower, "content-disposition") != NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "bounds.h"

#include <stdbool.h>
#include <string.h>
#include <glib.h>

/* RFC 5322 allows 998 characters in a line; names of fields are shorter. */
#define NAME_MAX_LEN 998

struct count {
    unsigned header_lines;
    size_t header_bytes;
    unsigned blocks;
    unsigned boundaries;
    unsigned groups; /* colons in the value of the field that is being read */
    bool has_groups; /* it holds addresses */
    bool after_boundary;
    bool in_header;
    bool holds_message; /* the header that is being read says message/... */
};

static bool
is_field(const unsigned char *line, size_t len)
{
    size_t i = 0;
    while (i < MIN(len, NAME_MAX_LEN) && line[i] > ' ' && line[i] < 127 && line[i] != ':') {
        i++;
    }
    while (i < len && (line[i] == ' ' || line[i] == '\t')) {
        i++;
    }
    return i > 0 && i < len && line[i] == ':';
}

static bool
is_empty(const unsigned char *line, size_t len)
{
    return len == 0 || (len == 1 && line[0] == '\r');
}

static bool
begins(const unsigned char *line, size_t len, const char *with)
{
    size_t n = strlen(with);
    return len >= n && memcmp(line, with, n) == 0;
}

static bool
begins_block(const unsigned char *line, size_t len)
{
    return begins(line, len, "begin ") || begins(line, len, "begin-base64 ") ||
           begins(line, len, "=ybegin ") || begins(line, len, "(This file must be converted with");
}

static bool
says_message(const unsigned char *line, size_t len)
{
    g_autofree char *text = g_ascii_strdown((const char *)line, (gssize)MIN(len, NAME_MAX_LEN));
    return strstr(text, "message/") != NULL;
}

static bool
holds_addresses(const unsigned char *line, size_t len)
{
    static const char *const names[] = {"from", "sender", "reply-to", "to", "cc", "bcc"};
    static const char resent[] = "resent-";
    const char *text = (const char *)line;
    if (len >= sizeof resent && g_ascii_strncasecmp(text, resent, sizeof resent - 1) == 0) {
        text += sizeof resent - 1;
        len -= sizeof resent - 1;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        size_t n = strlen(names[i]);
        if (len > n && g_ascii_strncasecmp(text, names[i], n) == 0 &&
            (text[n] == ':' || text[n] == ' ' || text[n] == '\t')) {
            return true;
        }
    }
    return false;
}

/* RFC 5322 knows no groups in groups; GMime reads them, a stack frame each. */
static void
count_groups(struct count *count, const unsigned char *line, size_t len, bool folded)
{
    if (!folded) {
        count->groups = 0;
        count->has_groups = holds_addresses(line, len);
    }
    for (size_t i = 0; count->has_groups && i < len; i++) {
        count->groups += line[i] == ':';
    }
}

static void
count_header_line(struct count *count, const unsigned char *line, size_t len)
{
    bool folded = len > 0 && (line[0] == ' ' || line[0] == '\t');
    if (folded || is_field(line, len)) {
        count->header_lines++;
        count->header_bytes += len;
        count_groups(count, line, len, folded);
        if (folded || begins(line, len, "C") || begins(line, len, "c")) {
            count->holds_message |= says_message(line, len);
        }
        return;
    }
    /* A mail in the mail begins behind the empty line with a header of its own. */
    count->in_header = is_empty(line, len) && count->holds_message;
    count->holds_message = false;
}

static void
count_line(struct count *count, const unsigned char *line, size_t len)
{
    bool boundary = len > 2 && begins(line, len, "--") && line[2] > ' ';
    count->boundaries += count->after_boundary && (is_empty(line, len) || is_field(line, len));
    count->after_boundary = boundary;
    if (boundary || begins(line, len, "From ")) {
        count->in_header = true;
        count->holds_message = false;
    } else if (count->in_header) {
        count_header_line(count, line, len);
    } else {
        count->blocks += begins_block(line, len);
    }
}

static const char *
over(const struct count *count)
{
    const struct {
        bool over;
        const char *what;
    } limits[] = {
        {count->header_lines > BOUNDS_HEADER_LINES, "number of header lines"},
        {count->header_bytes > BOUNDS_HEADER_BYTES, "size of the headers"},
        {count->groups > BOUNDS_GROUPS, "number of groups of addresses"},
        {count->blocks > BOUNDS_BLOCKS, "number of files in the text"},
        {count->boundaries > BOUNDS_BOUNDARIES, "number of MIME parts"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (limits[i].over) {
            return limits[i].what;
        }
    }
    return NULL;
}

const char *
bounds_exceeded(const unsigned char *data, size_t len)
{
    struct count count = {.in_header = true};
    const unsigned char *end = data + len;
    const char *what = NULL;
    while (data < end && what == NULL) {
        const unsigned char *eol = memchr(data, '\n', (size_t)(end - data));
        count_line(&count, data, (size_t)((eol != NULL ? eol : end) - data));
        what = over(&count);
        data = eol != NULL ? eol + 1 : end;
    }
    return what;
}

const char *
bounds_exceeded_by_html(const unsigned char *data, size_t len)
{
    static const char mark[] = "data:";
    const unsigned char *end = data + len;
    unsigned links = 0;
    for (const unsigned char *p = data;
         p < end && (p = memmem(p, (size_t)(end - p), mark, sizeof mark - 1)) != NULL; p++) {
        links += p > data && strchr("=\"'( ", p[-1]) != NULL;
        if (links > BOUNDS_LINKS) {
            return "number of data: links";
        }
    }
    return NULL;
}

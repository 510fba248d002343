/* SPDX-License-Identifier: GPL-2.0-only */
#include "replace.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "actions.h"

/* A delimiter has at most 70 characters (RFC 2046 5.1.1) and two dashes; people exceed that. */
#define DELIMITER_MAX 512
#define HEADER_MAX 65536
#define COPY_SIZE 65536
#define NAME_MAX_LENGTH 200
#define ITEMS_MAX 5

#define UNSCANNED_BITS ((1U << ON_LIMIT) | (1U << ON_DAMAGED) | (1U << ON_UNSUPPORTED))

struct cut {
    const struct part *part;
    bool needs_line_end; /* the line end before the next delimiter goes with the part */
};

/* --- which parts ---------------------------------------------------------------------------- */

/* A MIME part, not something that lies in its content. */
static bool
is_entity(const struct part *part)
{
    return strchr(part->path, '/') == NULL;
}

static bool
is_composite(const struct part *part)
{
    return g_ascii_strncasecmp(part->type, "multipart/", strlen("multipart/")) == 0 ||
           g_ascii_strcasecmp(part->type, "message/rfc822") == 0 ||
           g_ascii_strcasecmp(part->type, "message/global") == 0;
}

/* The message's own multipart: what is the matter with it is so for one of its parts. */
static bool
is_root(const struct part *part)
{
    return *part->path == '\0' && is_composite(part);
}

static bool
has_any(const GPtrArray *list)
{
    return list != NULL && list->len > 0;
}

static bool
is_at_fault(const struct part *part, unsigned situations)
{
    return ((situations & 1U << ON_INFECTED) != 0 && has_any(part->detections)) ||
           ((situations & 1U << ON_ENCRYPTED) != 0 && part->encrypted) ||
           ((situations & UNSCANNED_BITS) != 0 && has_any(part->limits));
}

static bool
is_mapped(const struct part *part)
{
    return part->to > 0;
}

static bool
lies_in(const struct part *inner, const struct part *outer)
{
    return inner != outer && inner->from >= outer->from && inner->to <= outer->to;
}

/* A signature around it would break, and what is encrypted as a whole was not seen in parts. */
static const char *
surroundings_wrong(const struct facts *facts, const struct part *part)
{
    for (guint i = 0; i < facts->parts->len; i++) {
        const struct part *other = g_ptr_array_index(facts->parts, i);
        if (!is_entity(other) || (other != part && !lies_in(part, other))) {
            continue;
        }
        if (other->signed_) {
            return "it is signed";
        }
        if (other != part && other->encrypted) {
            return "it lies in something encrypted";
        }
    }
    return NULL;
}

/* --- is it what it is said to be ------------------------------------------------------------ */

/* LEN bytes at FROM, fewer at the end; terminated. NULL = cannot be read. */
static char *
read_at(const struct spool *spool, guint64 from, gsize len, gsize *ret_len)
{
    g_autofree char *bytes = g_malloc(len + 1);
    ssize_t n = pread(spool_fd(spool), bytes, len, (off_t)from);
    if (n < 0) {
        return NULL;
    }
    bytes[n] = '\0';
    *ret_len = (gsize)n;
    return g_steal_pointer(&bytes);
}

/* FROM begins a line, and the line before is a delimiter, or empty as before an inner message. */
static bool
begin_is_plausible(const struct spool *spool, guint64 from)
{
    gsize len;
    guint64 start = from - MIN(from, DELIMITER_MAX);
    g_autofree char *before = read_at(spool, start, (gsize)(from - start), &len);
    if (before == NULL || len == 0 || before[len - 1] != '\n') {
        return false;
    }
    gsize end = len - 1;
    end -= end > 0 && before[end - 1] == '\r';
    gsize line = end;
    while (line > 0 && before[line - 1] != '\n') {
        line--;
    }
    return line == end || (end - line > 2 && memcmp(before + line, "--", 2) == 0);
}

/* A delimiter follows, or nothing. Its line end belongs to it (RFC 2046 5.1.1). */
static bool
end_is_plausible(const struct spool *spool, struct cut *cut)
{
    gsize len;
    guint64 to = cut->part->to;
    g_autofree char *around = read_at(spool, to - 1, 5, &len);
    if (around == NULL || to == spool_size(spool)) {
        return around != NULL;
    }
    const char *after = around + 1;
    cut->needs_line_end = around[0] == '\n' && memcmp(after, "--", MIN(len - 1, 2)) == 0;
    return cut->needs_line_end || g_str_has_prefix(after, "\r\n--") ||
           (around[0] != '\r' && g_str_has_prefix(after, "\n--"));
}

static bool
line_is_field(const char *line, gsize len)
{
    gsize name = 0;
    while (name < len && line[name] > ' ' && line[name] < 0x7f && line[name] != ':') {
        name++;
    }
    return name > 0 && name < len && line[name] == ':';
}

/* Field lines and their continuations, then an empty line; or that alone. */
static bool
header_is_plausible(const char *header, gsize len)
{
    bool any = false;
    while (len > 0) {
        const char *newline = memchr(header, '\n', len);
        if (newline == NULL) {
            return false;
        }
        gsize line = (gsize)(newline - header) + 1;
        bool is_empty = line == 1 || (line == 2 && *header == '\r');
        bool is_folded = any && (*header == ' ' || *header == '\t');
        if (is_empty) {
            return line == len;
        }
        if (!is_folded && !line_is_field(header, line)) {
            return false;
        }
        any = true;
        header += line;
        len -= line;
    }
    return false;
}

static bool
range_is_plausible(const struct spool *spool, struct cut *cut)
{
    const struct part *part = cut->part;
    gsize len = 0;
    if (part->from >= part->body_from || part->body_from > part->to ||
        part->to > spool_size(spool) || part->body_from - part->from > HEADER_MAX) {
        return false;
    }
    g_autofree char *header =
        read_at(spool, part->from, (gsize)(part->body_from - part->from), &len);
    return header != NULL && header_is_plausible(header, len) &&
           begin_is_plausible(spool, part->from) && end_is_plausible(spool, cut);
}

/* --- what is cut ---------------------------------------------------------------------------- */

static int
compare_cuts(const void *a, const void *b)
{
    const struct part *one = ((const struct cut *)a)->part;
    const struct part *two = ((const struct cut *)b)->part;
    if (one->from != two->from) {
        return one->from < two->from ? -1 : 1;
    }
    return one->to > two->to ? -1 : one->to < two->to;
}

/* Leaves stand side by side. What says otherwise would have us read all of the message for each. */
static bool
leaves_overlap(const struct replace_job *job)
{
    guint64 left = spool_size(job->original);
    for (guint i = 0; i < job->facts->parts->len; i++) {
        const struct part *part = g_ptr_array_index(job->facts->parts, i);
        if (!is_entity(part) || is_composite(part) || !is_mapped(part)) {
            continue;
        }
        if (part->to < part->from || part->to - part->from > left) {
            return true;
        }
        left -= part->to - part->from;
    }
    return false;
}

/* What lies in another cut goes with that. Returns false when two cut into each other. */
static bool
cuts_settle(GArray *cuts)
{
    g_array_sort(cuts, compare_cuts);
    for (guint i = 1; i < cuts->len;) {
        const struct part *before = g_array_index(cuts, struct cut, i - 1).part;
        const struct part *part = g_array_index(cuts, struct cut, i).part;
        if (part->to <= before->to) {
            g_array_remove_index(cuts, i);
        } else if (part->from < before->to) {
            return false;
        } else {
            i++;
        }
    }
    return true;
}

/* NULL, or why the message cannot be cut. */
static const char *
cuts_find(const struct replace_job *job, GArray *cuts)
{
    for (guint i = 0; i < job->facts->parts->len; i++) {
        const struct part *part = g_ptr_array_index(job->facts->parts, i);
        if (!is_entity(part) || is_root(part) || !is_at_fault(part, job->situations)) {
            continue;
        }
        if (!is_mapped(part)) {
            return "not clearly mapped";
        }
        const char *wrong = surroundings_wrong(job->facts, part);
        if (wrong != NULL) {
            return wrong;
        }
        struct cut cut = {.part = part};
        g_array_append_val(cuts, cut);
    }
    return cuts->len == 0 ? "no part is named" : NULL;
}

static bool
is_cut(const GArray *cuts, const struct part *part)
{
    for (guint i = 0; i < cuts->len; i++) {
        const struct part *cut = g_array_index(cuts, struct cut, i).part;
        if (cut == part || lies_in(part, cut)) {
            return true;
        }
    }
    return false;
}

/* Anything but white space, as it stands in the message. */
static bool
has_substance(const struct spool *spool, const struct part *part)
{
    guint64 at = part->body_from;
    while (at < part->to) {
        gsize len;
        g_autofree char *bytes = read_at(spool, at, MIN(COPY_SIZE, (gsize)(part->to - at)), &len);
        if (bytes == NULL || len == 0) {
            return false;
        }
        for (gsize i = 0; i < len; i++) {
            if (!g_ascii_isspace(bytes[i])) {
                return true;
            }
        }
        at += len;
    }
    return false;
}

static bool
something_remains(const struct replace_job *job, const GArray *cuts)
{
    const struct facts *facts = job->facts;
    for (guint i = 0; i < facts->parts->len; i++) {
        const struct part *part = g_ptr_array_index(facts->parts, i);
        if (!is_entity(part) || is_composite(part) || is_cut(cuts, part)) {
            continue;
        }
        if (is_mapped(part) ? has_substance(job->original, part) : part->size > 0) {
            return true;
        }
    }
    return facts->parts_total > facts->parts->len; /* those that are not described */
}

/* --- what is put there ---------------------------------------------------------------------- */

/* A name that its sender chose: nothing that could act on the text around it. */
static void
append_plain(GString *text, const char *raw)
{
    g_autofree char *valid = g_utf8_make_valid(raw, -1);
    gsize n = 0;
    for (const char *p = valid; *p != '\0' && n < NAME_MAX_LENGTH;
         p += g_utf8_skip[*(const guchar *)p], n++) {
        gunichar c = g_utf8_get_char(p);
        g_string_append_unichar(text, g_unichar_isprint(c) ? c : '_');
    }
}

static void
append_list(GString *text, const char *title, const GPtrArray *list)
{
    for (guint i = 0; has_any(list) && i < list->len && i < ITEMS_MAX; i++) {
        g_string_append(text, title);
        append_plain(text, g_ptr_array_index(list, i));
        g_string_append(text, "\r\n");
    }
}

static char *
notice(const struct part *part, const char *key)
{
    GString *text = g_string_new("The virus scanner has taken away what was here.\r\n\r\nFile:   ");
    append_plain(text, part->filename != NULL ? part->filename : "(without a name)");
    g_string_append(text, "\r\n");
    append_list(text, "Found:  ", part->detections);
    append_list(text, "Reason: ", part->limits);
    if (part->encrypted) {
        g_string_append(text, "Reason: it is encrypted and cannot be scanned\r\n");
    }
    g_string_append_printf(text,
                           "\r\nThe original message is in the quarantine. Your postmaster finds "
                           "it as\r\n%s\r\n",
                           key);
    return g_string_free(text, FALSE);
}

static char *
in_base64(const char *text)
{
    GString *lines = g_string_new(NULL);
    g_autofree char *whole = g_base64_encode((const guchar *)text, strlen(text));
    for (gsize i = 0; i < strlen(whole); i += 76) {
        g_string_append_len(lines, whole + i, (gssize)MIN(76, strlen(whole + i)));
        g_string_append(lines, "\r\n");
    }
    return g_string_free(lines, FALSE);
}

/* The next hop may not take 8-bit content, so a name in other letters is encoded. */
static char *
entity(const struct cut *cut, const char *key)
{
    g_autofree char *plain = notice(cut->part, key);
    bool is_ascii = g_str_is_ascii(plain);
    g_autofree char *encoded = is_ascii ? g_strdup(plain) : in_base64(plain);
    if (!cut->needs_line_end) {
        encoded[strlen(encoded) - strlen("\r\n")] = '\0';
    }
    return g_strdup_printf("Content-Type: text/plain; charset=%s\r\n"
                           "Content-Transfer-Encoding: %s\r\n"
                           "Content-Disposition: inline\r\n\r\n%s",
                           is_ascii ? "us-ascii" : "utf-8", is_ascii ? "7bit" : "base64", encoded);
}

static int
copy_range(const struct spool *from, guint64 at, guint64 end, struct spool *to)
{
    int rc = 0;
    while (rc == 0 && at < end) {
        gsize len = 0;
        g_autofree char *bytes = read_at(from, at, MIN(COPY_SIZE, (gsize)(end - at)), &len);
        rc = bytes == NULL || len == 0 ? -EIO : spool_append(to, bytes, len);
        at += len;
    }
    return rc;
}

static int
write_new(const struct replace_job *job, const GArray *cuts, struct spool *new)
{
    guint64 at = spool_body_from(job->original);
    int rc = copy_range(job->original, 0, at, new);
    spool_body_begins(new);
    for (guint i = 0; rc == 0 && i < cuts->len; i++) {
        const struct cut *cut = &g_array_index(cuts, struct cut, i);
        rc = copy_range(job->original, at, cut->part->from, new);
        if (rc == 0) {
            g_autofree char *text = entity(cut, job->key);
            rc = spool_append(new, text, strlen(text));
        }
        at = cut->part->to;
    }
    if (rc == 0) {
        rc = copy_range(job->original, at, spool_size(job->original), new);
    }
    return rc < 0 ? rc : spool_seal(new);
}

int
replace_make(const struct replace_job *job, struct spool **ret_new, const char **why_r)
{
    g_autoptr(GArray) cuts = g_array_new(FALSE, FALSE, sizeof(struct cut));
    *why_r = cuts_find(job, cuts);
    if (*why_r == NULL && (leaves_overlap(job) || !cuts_settle(cuts))) {
        *why_r = "not clearly mapped";
    }
    if (*why_r != NULL) {
        return -EBADMSG;
    }
    if (!something_remains(job, cuts)) {
        return -ENODATA;
    }
    for (guint i = 0; i < cuts->len; i++) {
        struct cut *cut = &g_array_index(cuts, struct cut, i);
        if (cut->part->from < spool_body_from(job->original) ||
            !range_is_plausible(job->original, cut)) {
            *why_r = "not clearly mapped";
            return -EBADMSG;
        }
    }
    g_autoptr(spool_t) new = spool_new(job->budget, job->size_limit);
    int rc = new == NULL ? -errno : write_new(job, cuts, new);
    if (rc == 0) {
        *ret_new = g_steal_pointer(&new);
    }
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-codec.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "text.h"

#define CHUNK_LEN_BYTES 4U

static const struct row {
    const char *name;
    enum clamd_command command;
    bool has_argument;
    bool plain; /* may come without a prefix */
} rows[] = {
    {"SCAN", CLAMD_SCAN, true, true},
    {"QUIT", CLAMD_SHUTDOWN, false, true},
    {"RELOAD", CLAMD_RELOAD, false, true},
    {"PING", CLAMD_PING, false, true},
    {"CONTSCAN", CLAMD_CONTSCAN, true, true},
    {"VERSIONCOMMANDS", CLAMD_COMMANDS, false, false},
    {"VERSION", CLAMD_VERSION, false, true},
    {"END", CLAMD_END, false, false},
    {"SHUTDOWN", CLAMD_SHUTDOWN, false, true},
    {"MULTISCAN", CLAMD_MULTISCAN, true, true},
    {"FILDES", CLAMD_FILDES, false, true},
    {"STATS", CLAMD_STATS, false, false},
    {"IDSESSION", CLAMD_IDSESSION, false, false},
    {"INSTREAM", CLAMD_INSTREAM, false, false},
    {"ALLMATCHSCAN", CLAMD_ALLMATCHSCAN, true, false},
};

static const struct row unknown = {"UNKNOWN", CLAMD_UNKNOWN, false, true};

const char *
clamd_command_name(enum clamd_command command)
{
    for (size_t i = G_N_ELEMENTS(rows); i-- > 0;) {
        if (rows[i].command == command) {
            return rows[i].name;
        }
    }
    return unknown.name;
}

char *
clamd_command_list(void)
{
    GString *list = g_string_new(rows[0].name);
    for (size_t i = 1; i < G_N_ELEMENTS(rows); i++) {
        g_string_append_printf(list, " %s", rows[i].name);
    }
    return g_string_free(list, FALSE);
}

/* The row of the LEN bytes at TEXT; UNKNOWN also for an argument that is missing or too many. */
static const struct row *
row_of(const char *text, gsize len)
{
    const char *space = memchr(text, ' ', len);
    gsize name_len = space != NULL ? (gsize)(space - text) : len;
    bool has_argument = space != NULL && name_len + 1 < len;
    if (memchr(text, '\0', len) != NULL) {
        return &unknown;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strlen(rows[i].name) == name_len && memcmp(rows[i].name, text, name_len) == 0) {
            bool fits = rows[i].has_argument ? has_argument : space == NULL;
            return fits ? &rows[i] : &unknown;
        }
    }
    return &unknown;
}

/* TEXT may yet become a plain command that is known. */
static bool
is_beginning(const char *text, gsize len)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        gsize whole = strlen(rows[i].name) + (rows[i].has_argument ? 1 : 0);
        gsize same = MIN(len, strlen(rows[i].name));
        if (rows[i].plain && len <= whole && memcmp(rows[i].name, text, same) == 0 &&
            (len < whole || rows[i].has_argument)) {
            return true;
        }
    }
    return false;
}

static void
request_set(struct clamd_request *request, const struct row *row, const char *text, gsize len)
{
    request->command = row->command;
    request->argument = NULL;
    request->argument_len = 0;
    if (row->has_argument) {
        gsize skip = strlen(row->name) + 1;
        request->argument = text + skip;
        request->argument_len = len - skip;
    }
}

static gsize
chomped(const char *text, gsize len)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r')) {
        len--;
    }
    return len;
}

/* Where the command's text begins and ends, and what it takes up with its prefix and end. */
struct frame {
    const char *text;
    gsize len;
    gsize whole;
    bool open; /* plain, and without a line end so far */
};

/* Returns 1, 0 (more is needed), or -EMSGSIZE. */
static int
frame_find(const char *bytes, gsize len, const struct clamd_request *request, struct frame *ret)
{
    gsize skip = request->plain ? 0 : 1;
    const char *end = memchr(bytes, request->terminator, MIN(len, CLAMD_COMMAND_MAX));
    if (end == NULL && len >= CLAMD_COMMAND_MAX) {
        return -EMSGSIZE;
    }
    if (end == NULL && !request->plain) {
        return 0;
    }
    ret->open = end == NULL;
    ret->whole = ret->open ? len : (gsize)(end - bytes) + 1;
    ret->text = bytes + skip;
    ret->len = (ret->open ? len : (gsize)(end - bytes)) - skip;
    if (request->terminator == '\n') {
        ret->len = chomped(ret->text, ret->len);
    }
    return 1;
}

int
clamd_request_parse(const char *bytes, gsize len, struct clamd_request *ret, gsize *used)
{
    struct frame frame;
    if (len == 0) {
        return 0;
    }
    ret->plain = bytes[0] != 'z' && bytes[0] != 'n';
    ret->terminator = bytes[0] == 'z' ? '\0' : '\n';
    int rc = frame_find(bytes, len, ret, &frame);
    if (rc != 1) {
        return rc;
    }
    const struct row *row = row_of(frame.text, frame.len);
    if (ret->plain && !row->plain) {
        row = &unknown;
    }
    if (frame.open && row == &unknown && is_beginning(frame.text, frame.len)) {
        return 0;
    }
    if (row->command == CLAMD_FILDES) {
        if (frame.open || frame.whole == len) {
            return 0;
        }
        frame.whole++;
    }
    *used = frame.whole;
    request_set(ret, row, frame.text, frame.len);
    return 1;
}

enum clamd_piece
clamd_chunks_next(struct clamd_chunks *chunks, const char *bytes, gsize len, const char **data,
                  gsize *data_len, gsize *used)
{
    guint32 length;
    if (chunks->left == 0) {
        if (len < CHUNK_LEN_BYTES) {
            return CLAMD_PIECE_MORE;
        }
        memcpy(&length, bytes, CHUNK_LEN_BYTES);
        chunks->left = GUINT32_FROM_BE(length);
        bytes += CHUNK_LEN_BYTES;
        len -= CHUNK_LEN_BYTES;
        *used += CHUNK_LEN_BYTES;
        if (chunks->left == 0) {
            return CLAMD_PIECE_END;
        }
        if (chunks->left > chunks->room) {
            return CLAMD_PIECE_TOO_LONG;
        }
        chunks->room -= chunks->left;
    }
    if (len == 0) {
        return CLAMD_PIECE_MORE;
    }
    *data = bytes;
    *data_len = MIN(len, chunks->left);
    chunks->left -= (guint32)*data_len;
    *used += *data_len;
    return CLAMD_PIECE_DATA;
}

static bool
has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if (g_ascii_iscntrl(*text)) {
            return true;
        }
    }
    return false;
}

void
clamd_answer(GByteArray *out, const struct clamd_tag *tag, const char *path, const char *format,
             ...)
{
    g_autoptr(GString) line = g_string_new(NULL);
    va_list args;
    if (tag->id != 0) {
        g_string_append_printf(line, "%u: ", tag->id);
    }
    if (path != NULL && tag->terminator != '\0' && has_control(path)) {
        g_autofree char *safe = text_escape(path, CLAMD_COMMAND_MAX * 4);
        g_string_append_printf(line, "%s: ", safe);
    } else if (path != NULL) {
        g_string_append_printf(line, "%s: ", path);
    }
    va_start(args, format);
    g_string_append_vprintf(line, format, args);
    va_end(args);
    g_string_append_c(line, tag->terminator);
    g_byte_array_append(out, (const guint8 *)line->str, (guint)line->len);
}

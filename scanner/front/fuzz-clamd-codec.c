/* SPDX-License-Identifier: GPL-2.0-only */
/* Any input as a clamd connection: first as commands, after an INSTREAM as chunks. */
#include "clamd-codec.h"

#include <stddef.h>
#include <stdint.h>

#define ROOM 100000U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Returns what was used, at most LEN. */
static gsize
chunks_read(const char *bytes, gsize len)
{
    struct clamd_chunks chunks = {.room = ROOM};
    gsize at = 0;
    gsize content = 0;
    for (;;) {
        const char *data = NULL;
        gsize data_len = 0;
        gsize used = 0;
        enum clamd_piece piece =
            clamd_chunks_next(&chunks, bytes + at, len - at, &data, &data_len, &used);
        g_assert(used <= len - at);
        at += used;
        if (piece != CLAMD_PIECE_DATA) {
            return at;
        }
        g_assert(data + data_len == bytes + at);
        content += data_len;
        g_assert(content <= ROOM);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
    const char *bytes = (const char *)input;
    g_autoptr(GByteArray) out = g_byte_array_new();
    gsize at = 0;
    for (;;) {
        struct clamd_request request;
        gsize used = 0;
        if (clamd_request_parse(bytes + at, len - at, &request, &used) != 1) {
            return 0;
        }
        g_assert(used > 0 && used <= len - at);
        at += used;
        if (request.argument != NULL) {
            struct clamd_tag tag = {.id = 1, .terminator = request.terminator};
            g_autofree char *path = g_strndup(request.argument, request.argument_len);
            clamd_answer(out, &tag, path, "OK");
        }
        if (request.command == CLAMD_INSTREAM) {
            at += chunks_read(bytes + at, len - at);
        }
    }
}

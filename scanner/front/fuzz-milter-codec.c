/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an MTA could send, through all decoders. Built on request, with clang:
 *     make CC=clang fuzz-milter-codec && ./fuzz-milter-codec -max_len=4096
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "milter-codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
texts_walk(const struct milter_packet *packet)
{
    struct milter_texts texts = milter_texts_of(packet);
    const char *text;
    size_t total = 0;
    while (milter_texts_next(&texts, &text) == 1) {
        total += strlen(text) + 1;
    }
    if (total > packet->len) {
        abort();
    }
}

static void
macros_walk(const struct milter_packet *packet)
{
    struct milter_texts texts;
    char name[64];
    const char *value;
    if (milter_macros_of(packet, &texts) < 0) {
        return;
    }
    while (milter_macros_next(&texts, name, &value) == 1) {
        if (strlen(name) >= sizeof name || strlen(value) > packet->len) {
            abort();
        }
    }
}

static void
decode(const struct milter_packet *packet)
{
    struct milter_options options;
    struct milter_connect connect;
    struct milter_header header;
    if (milter_options_decode(packet, &options) == 0) {
        struct milter_options mine;
        if (milter_negotiate(&options, &mine) == 0 &&
            ((mine.actions & ~options.actions) != 0 || mine.version > options.version)) {
            abort();
        }
    }
    if (milter_connect_decode(packet, &connect) == 0 && connect.address != NULL &&
        strlen(connect.name) + strlen(connect.address) > packet->len) {
        abort();
    }
    if (milter_header_decode(packet, &header) == 0 &&
        strlen(header.name) + header.value_len + 2 != packet->len) {
        abort();
    }
    texts_walk(packet);
    macros_walk(packet);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct milter_packet packet;
    size_t used = 0;
    while (milter_packet_parse(bytes, len, &packet, &used) == 1) {
        /* In memory of its own, so that a byte too far is seen. */
        char *copy = malloc(packet.len + 1);
        if (packet.len > 0) {
            memcpy(copy, packet.data, packet.len);
        }
        char *exact = realloc(copy, packet.len == 0 ? 1 : packet.len);
        packet.data = exact;
        decode(&packet);
        free(exact);
        bytes += used;
        len -= used;
    }
    return 0;
}

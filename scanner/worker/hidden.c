/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "hidden.h"

#include <string.h>
#include <glib.h>
#include <zlib.h>

#include "bytes.h"
#include "members.h"

#define TAR_BLOCK 512U

static bool
is_program(const unsigned char *data, size_t len)
{
    return len > 2 && memcmp(data, "MZ", 2) == 0;
}

/* The main header that follows the mark has a checksum (RAR 5: technote "RAR 5.0 archive format",
 * "General archive block format"; before that CRC-16 of its 11 bytes, type 0x73). */
static bool
check_rar_header(const unsigned char *data, size_t len)
{
    if (len >= 20 && data[6] == 0) {
        return data[9] == 0x73 && le16(data + 12) == 13 &&
               (crc32(0, data + 9, 11) & 0xffff) == le16(data + 7);
    }
    /* The header's size, one byte as long as it is below 128, does not count itself. */
    return len >= 13 && data[6] == 1 && data[7] == 0 && data[12] < 128 && len >= 13U + data[12] &&
           crc32(0, data + 12, 1U + data[12]) == le32(data + 8);
}

static bool
has_rar(const unsigned char *data, size_t len)
{
    static const char mark[] = "Rar!\032\007";
    const unsigned char *end = data + len;
    for (const unsigned char *p = data;
         (p = memmem(p, (size_t)(end - p), mark, sizeof mark - 1)) != NULL; p++) {
        if (is_program(data, len) || check_rar_header(p, (size_t)(end - p))) {
            return true;
        }
    }
    return false;
}

/* Of programs alone: the method's five bytes occur elsewhere. */
static bool
has_lha(const unsigned char *data, size_t len)
{
    static const char mark[] = "-lh";
    const unsigned char *end = data + len;
    if (!is_program(data, len)) {
        return false;
    }
    for (const unsigned char *p = data + 2;
         (p = memmem(p, (size_t)(end - p), mark, sizeof mark - 1)) != NULL; p++) {
        if (members_is_lha_header(p - 2, (size_t)(end - p) + 2)) {
            return true;
        }
    }
    return false;
}

/* As GNU tar, which looks for the next header when the first is none. */
static bool
has_tar(const unsigned char *data, size_t len)
{
    for (size_t at = TAR_BLOCK; at + TAR_BLOCK <= len; at += TAR_BLOCK) {
        if (members_is_tar_header(data + at)) {
            return true;
        }
    }
    return false;
}

const struct container *
hidden_find(const unsigned char *data, size_t len)
{
    static const struct {
        bool (*is_there)(const unsigned char *data, size_t len);
        struct container container;
    } kinds[] = {
        {has_rar, {"self-extracting RAR archive", false, SURVEY_NONE}},
        {has_lha, {"self-extracting LHA archive", false, SURVEY_NONE}},
        {has_tar, {"tar archive behind other content", false, SURVEY_NONE}},
    };
    for (size_t i = 0; len > 0 && i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i].is_there(data, len)) {
            return &kinds[i].container;
        }
    }
    return NULL;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "container.h"

#include <stdlib.h>
#include <string.h>

/*
 * Magic numbers: file(1)'s database and the formats' own specifications. What libclamav opens:
 * tried with 1.4 of Debian 12, which has no RAR code (non-free) and no Zstandard, LZ4, lzip,
 * LZMA-alone or compress.
 */
static const struct magic {
    struct container container;
    size_t offset;
    size_t len;
    const char *bytes;
    bool (*check)(const unsigned char *data, size_t len); /* where the magic is too short */
} magics[];

static uint16_t
le16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t
le32(const unsigned char *p)
{
    return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

/* ARJ: the main header follows, at most 2600 bytes, its file type is 2. */
static bool
check_arj(const unsigned char *data, size_t len)
{
    return len >= 12 && le16(data + 2) > 0 && le16(data + 2) <= 2600 && data[10] == 2;
}

/* bzip2: level, then the mark of a block or of the end. */
static bool
check_bzip2(const unsigned char *data, size_t len)
{
    return len >= 10 && data[3] >= '1' && data[3] <= '9' &&
           (memcmp(data + 4, "1AY&SY", 6) == 0 ||
            memcmp(data + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0);
}

/* compress: the largest code is 9 to 16 bits wide, two bits are reserved. */
static bool
check_compress(const unsigned char *data, size_t len)
{
    return len >= 3 && (data[2] & 0x60) == 0 && (data[2] & 0x1f) >= 9 && (data[2] & 0x1f) <= 16;
}

/* LHA: "-lh0-" to "-lh7-", "-lhd-", "-lhx-", "-lz4-", "-lzs-", "-pm0-" ...: a dash ends it. */
static bool
check_lha(const unsigned char *data, size_t len)
{
    return len >= 21 && data[6] == '-' &&
           (memcmp(data + 2, "-lh", 3) == 0 || memcmp(data + 2, "-lz", 3) == 0 ||
            memcmp(data + 2, "-pm", 3) == 0);
}

/*
 * LZMA-alone has no magic: properties 0x5d (all tools write that), a dictionary that is a power
 * of two of at least 4 KB or the sum of two, a size below 2^40 or unknown, and a first byte 0 of
 * the range coder.
 */
static bool
check_lzma(const unsigned char *data, size_t len)
{
    if (len < 14 || data[13] != 0) {
        return false;
    }
    uint32_t dict = le32(data + 1);
    uint32_t rest = dict & (dict - 1);
    bool unknown = le32(data + 5) == UINT32_MAX && le32(data + 9) == UINT32_MAX;
    return dict >= 4096 && (rest == 0 || (rest & (rest - 1)) == 0) &&
           (unknown || le32(data + 9) < 256);
}

static const struct magic magics[] = {
    {{"ZIP archive", true, true}, 0, 4, "PK\003\004", NULL},
    {{"ZIP archive", true, true}, 0, 8, "PK00PK\003\004", NULL},
    {{"ZIP archive", true, true}, 0, 8, "PK\007\010PK\003\004", NULL},
    {{"7z archive", true, false}, 0, 6, "7z\274\257\047\034", NULL},
    {{"RAR archive", false, false}, 0, 6, "Rar!\032\007", NULL},
    {{"RAR archive", false, false}, 0, 4, "RE~^", NULL},
    {{"gzip file", true, false}, 0, 3, "\037\213\010", NULL},
    {{"bzip2 file", true, false}, 0, 3, "BZh", check_bzip2},
    {{"xz file", true, false}, 0, 6, "\3757zXZ\0", NULL},
    {{"Zstandard file", false, false}, 0, 4, "\050\265\057\375", NULL},
    {{"LZ4 file", false, false}, 0, 4, "\004\"M\030", NULL},
    {{"LZ4 file", false, false}, 0, 4, "\002!L\030", NULL},
    {{"lzip file", false, false}, 0, 4, "LZIP", NULL},
    {{"LZMA file", false, false}, 0, 3, "\135\0\0", check_lzma},
    {{"lzop file", false, false}, 0, 9, "\211LZO\0\r\n\032\n", NULL},
    {{"compress file", false, false}, 0, 2, "\037\235", check_compress},
    {{"lrzip file", false, false}, 0, 4, "LRZI", NULL},
    {{"zpaq archive", false, false}, 0, 4, "7kSt", NULL},
    {{"CAB archive", true, false}, 0, 8, "MSCF\0\0\0\0", NULL},
    {{"ARJ archive", true, false}, 0, 2, "\140\352", check_arj},
    {{"LHA archive", true, false}, 2, 1, "-", check_lha},
    {{"ALZ archive", true, false}, 0, 4, "ALZ\001", NULL},
    {{"EGG archive", true, false}, 0, 4, "EGGA", NULL},
    {{"ACE archive", false, false}, 7, 7, "**ACE**", NULL},
    {{"ZOO archive", false, false}, 20, 4, "\334\247\304\375", NULL},
    {{"StuffIt archive", false, false}, 0, 8, "StuffIt ", NULL},
    {{"StuffIt archive", false, false}, 0, 4, "SIT!", NULL},
    {{"tar archive", true, false}, 257, 5, "ustar", NULL},
    {{"cpio archive", true, false}, 0, 6, "070701", NULL},
    {{"cpio archive", true, false}, 0, 6, "070702", NULL},
    {{"cpio archive", true, false}, 0, 6, "070707", NULL},
    {{"ar archive", false, false}, 0, 8, "!<arch>\n", NULL},
    {{"RPM package", false, false}, 0, 4, "\355\253\356\333", NULL},
    {{"XAR archive", true, false}, 0, 4, "xar!", NULL},
    {{"WIM image", false, false}, 0, 8, "MSWIM\0\0\0", NULL},
    {{"compressed file (SZDD)", true, false}, 0, 8, "SZDD\210\360\047\063", NULL},
    {{"compressed file (KWAJ)", false, false}, 0, 8, "KWAJ\210\360\047\321", NULL},
    {{"ISO 9660 image", true, false}, 32769, 5, "CD001", NULL},
    {{"UDF image", true, false}, 32769, 5, "BEA01", NULL},
    {{"VHD image", false, false}, 0, 8, "conectix", NULL},
    {{"VHDX image", false, false}, 0, 8, "vhdxfile", NULL},
    {{"SquashFS image", false, false}, 0, 4, "hsqs", NULL},
};

/* libclamav's names for the kinds that have no magic number. */
static const struct {
    const char *clam_type;
    struct container container;
} typed[] = {
    {"CL_TYPE_OLD_TAR", {"tar archive", true, false}},
    {"CL_TYPE_CPIO_OLD", {"cpio archive", true, false}},
    {"CL_TYPE_BINHEX", {"BinHex file", true, false}},
};

static bool
magic_matches(const struct magic *magic, const unsigned char *data, size_t len)
{
    return len >= magic->offset + magic->len &&
           memcmp(data + magic->offset, magic->bytes, magic->len) == 0 &&
           (magic->check == NULL || magic->check(data, len));
}

const struct container *
container_detect(const unsigned char *data, size_t len, const char *clam_type)
{
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        if (magic_matches(&magics[i], data, len)) {
            return &magics[i].container;
        }
    }
    for (size_t i = 0; clam_type != NULL && i < sizeof typed / sizeof typed[0]; i++) {
        if (strcmp(typed[i].clam_type, clam_type) == 0) {
            return &typed[i].container;
        }
    }
    return NULL;
}

const struct container *
container_detect_sfx(const unsigned char *data, size_t len)
{
    static const struct container rar = {"self-extracting RAR archive", false, false};
    static const char mark[] = "Rar!\032\007";
    bool program = len > 2 && memcmp(data, "MZ", 2) == 0;
    return program && memmem(data, len, mark, sizeof mark - 1) != NULL ? &rar : NULL;
}

/* ZIP: APPNOTE.TXT 4.3.12 (central directory header), 4.3.16 (its end), 4.4.5 (methods). */
#define ZIP_END_SIZE 22
#define ZIP_ENTRY_SIZE 46
#define ZIP_COMMENT_MAX 65535
#define CLAM_IGNORES_UP_TO 5

/* Stored, imploded, deflated, deflate64, bzip2: what libclamav 1.4 extracts. */
static bool
zip_method_known(unsigned method)
{
    return method == 0 || method == 6 || method == 8 || method == 9 || method == 12;
}

static const unsigned char *
zip_find_end(const unsigned char *data, size_t len)
{
    if (len < ZIP_END_SIZE) {
        return NULL;
    }
    size_t lowest = len > ZIP_END_SIZE + ZIP_COMMENT_MAX ? len - ZIP_END_SIZE - ZIP_COMMENT_MAX : 0;
    for (size_t at = len - ZIP_END_SIZE + 1; at-- > lowest;) {
        if (memcmp(data + at, "PK\005\006", 4) == 0) {
            return data + at;
        }
    }
    return NULL;
}

static void
zip_count(struct zip_survey *survey, const unsigned char *entry)
{
    bool encrypted = (le16(entry + 8) & 1) != 0;
    unsigned method = le16(entry + 10);
    uint32_t packed = le32(entry + 20);
    uint32_t size = le32(entry + 24);
    survey->entries++;
    /* Whatever size it claims: a lie here must not hide a method that nobody can unpack. */
    if (packed > 0 && !encrypted && !zip_method_known(method)) {
        survey->method = (int)method;
    }
    if (size > CLAM_IGNORES_UP_TO) {
        survey->members++;
        survey->encrypted += encrypted;
        survey->bytes += encrypted ? 0 : size;
    }
}

struct zip_survey
container_survey_zip(const unsigned char *data, size_t len)
{
    struct zip_survey survey = {.method = -1};
    const unsigned char *end = zip_find_end(data, len);
    if (end == NULL) {
        return survey;
    }
    size_t size = le32(end + 12);
    size_t stop = (size_t)(end - data);
    /* Counted back from the end, as libclamav does not: bytes before the archive shift the offset
     * that stands in the record, but never the directory's place before its end. */
    size_t at = size <= stop ? stop - size : stop;
    while (at + ZIP_ENTRY_SIZE <= stop && memcmp(data + at, "PK\001\002", 4) == 0) {
        const unsigned char *entry = data + at;
        zip_count(&survey, entry);
        at += ZIP_ENTRY_SIZE + (size_t)le16(entry + 28) + le16(entry + 30) + le16(entry + 32);
    }
    survey.found = at == stop && survey.entries > 0;
    return survey;
}

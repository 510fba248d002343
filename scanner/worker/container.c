/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "container.h"

#include <string.h>
#include <glib.h>

#include "crc32.h"

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

/* Another stream after the first: parallel compressors write many, and libclamav 1.4 unpacks only
 * the first. Streams begin at a byte, and 72 bits do not come about by chance. */
static bool
check_bzip2_streams(const unsigned char *data, size_t len)
{
    static const char block[] = "1AY&SY";
    const unsigned char *end = data + len;
    const unsigned char *p = data + 4;
    if (!check_bzip2(data, len)) {
        return false;
    }
    while ((p = memmem(p, (size_t)(end - p), block, sizeof block - 1)) != NULL) {
        if (p - data >= 8 && memcmp(p - 4, "BZh", 3) == 0 && p[-1] >= '1' && p[-1] <= '9') {
            return true;
        }
        p++;
    }
    return false;
}

/* A skippable frame, which both formats may begin with: 0x184d2a50 to 5f. */
static bool
check_skippable(const unsigned char *data, size_t len)
{
    (void)len;
    return (data[0] & 0xf0) == 0x50;
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
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 4, "PK\003\004", NULL},
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 8, "PK00PK\003\004", NULL},
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 8, "PK\007\010PK\003\004", NULL},
    {{"7z archive", true, SURVEY_NONE}, 0, 6, "7z\274\257\047\034", NULL},
    {{"RAR archive", false, SURVEY_NONE}, 0, 6, "Rar!\032\007", NULL},
    {{"RAR archive", false, SURVEY_NONE}, 0, 4, "RE~^", NULL},
    {{"gzip file", true, SURVEY_NONE}, 0, 3, "\037\213\010", NULL},
    {{"bzip2 file of several streams", false, SURVEY_NONE}, 0, 3, "BZh", check_bzip2_streams},
    {{"bzip2 file", true, SURVEY_NONE}, 0, 3, "BZh", check_bzip2},
    {{"xz file", true, SURVEY_NONE}, 0, 6, "\3757zXZ\0", NULL},
    {{"Zstandard file", false, SURVEY_NONE}, 0, 4, "\050\265\057\375", NULL},
    {{"Zstandard or LZ4 file", false, SURVEY_NONE}, 1, 3, "\052M\030", check_skippable},
    {{"LZ4 file", false, SURVEY_NONE}, 0, 4, "\004\"M\030", NULL},
    {{"LZ4 file", false, SURVEY_NONE}, 0, 4, "\002!L\030", NULL},
    {{"lzip file", false, SURVEY_NONE}, 0, 4, "LZIP", NULL},
    {{"LZMA file", false, SURVEY_NONE}, 0, 3, "\135\0\0", check_lzma},
    {{"lzop file", false, SURVEY_NONE}, 0, 9, "\211LZO\0\r\n\032\n", NULL},
    {{"compress file", false, SURVEY_NONE}, 0, 2, "\037\235", check_compress},
    {{"lrzip file", false, SURVEY_NONE}, 0, 4, "LRZI", NULL},
    {{"zpaq archive", false, SURVEY_NONE}, 0, 4, "7kSt", NULL},
    {{"CAB archive", true, SURVEY_NONE}, 0, 8, "MSCF\0\0\0\0", NULL},
    {{"ARJ archive", true, SURVEY_NONE}, 0, 2, "\140\352", check_arj},
    {{"LHA archive", true, SURVEY_NONE}, 2, 1, "-", check_lha},
    {{"ALZ archive", true, SURVEY_NONE}, 0, 4, "ALZ\001", NULL},
    {{"EGG archive", true, SURVEY_NONE}, 0, 4, "EGGA", NULL},
    {{"ACE archive", false, SURVEY_NONE}, 7, 7, "**ACE**", NULL},
    {{"ZOO archive", false, SURVEY_NONE}, 20, 4, "\334\247\304\375", NULL},
    {{"StuffIt archive", false, SURVEY_NONE}, 0, 8, "StuffIt ", NULL},
    {{"StuffIt archive", false, SURVEY_NONE}, 0, 4, "SIT!", NULL},
    {{"tar archive", true, SURVEY_TAR}, 257, 5, "ustar", NULL},
    {{"cpio archive", true, SURVEY_NONE}, 0, 6, "070701", NULL},
    {{"cpio archive", true, SURVEY_NONE}, 0, 6, "070702", NULL},
    {{"cpio archive", true, SURVEY_NONE}, 0, 6, "070707", NULL},
    {{"ar archive", false, SURVEY_NONE}, 0, 8, "!<arch>\n", NULL},
    {{"RPM package", false, SURVEY_NONE}, 0, 4, "\355\253\356\333", NULL},
    {{"XAR archive", true, SURVEY_NONE}, 0, 4, "xar!", NULL},
    {{"WIM image", false, SURVEY_NONE}, 0, 8, "MSWIM\0\0\0", NULL},
    {{"compressed file (SZDD)", true, SURVEY_NONE}, 0, 8, "SZDD\210\360\047\063", NULL},
    {{"compressed file (KWAJ)", false, SURVEY_NONE}, 0, 8, "KWAJ\210\360\047\321", NULL},
    {{"zisofs file", false, SURVEY_NONE}, 0, 8, "\067\344\123\226\311\333\326\007", NULL},
    {{"ISO 9660 image", true, SURVEY_NONE}, 32769, 5, "CD001", NULL},
    {{"UDF image", true, SURVEY_NONE}, 32769, 5, "BEA01", NULL},
    {{"VHD image", false, SURVEY_NONE}, 0, 8, "conectix", NULL},
    {{"VHDX image", false, SURVEY_NONE}, 0, 8, "vhdxfile", NULL},
    {{"SquashFS image", false, SURVEY_NONE}, 0, 4, "hsqs", NULL},
};

/* libclamav's names for the kinds that have no magic number. */
static const struct {
    const char *clam_type;
    struct container container;
} typed[] = {
    {"CL_TYPE_OLD_TAR", {"tar archive", true, SURVEY_TAR}},
    {"CL_TYPE_CPIO_OLD", {"cpio archive", true, SURVEY_NONE}},
    {"CL_TYPE_BINHEX", {"BinHex file", true, SURVEY_NONE}},
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

/* The main header that follows the mark has a checksum (RAR 5: technote "RAR 5.0 archive format",
 * "General archive block format"; before that CRC-16 of its 11 bytes, type 0x73). */
static bool
check_rar_header(const unsigned char *data, size_t len)
{
    if (len >= 20 && data[6] == 0) {
        return data[9] == 0x73 && le16(data + 12) == 13 &&
               (crc32_of(data + 9, 11) & 0xffff) == le16(data + 7);
    }
    /* The header's size, one byte as long as it is below 128, does not count itself. */
    return len >= 13 && data[6] == 1 && data[7] == 0 && data[12] < 128 && len >= 13U + data[12] &&
           crc32_of(data + 12, 1U + data[12]) == le32(data + 8);
}

const struct container *
container_detect_sfx(const unsigned char *data, size_t len)
{
    static const struct container rar = {"self-extracting RAR archive", false, SURVEY_NONE};
    static const char mark[] = "Rar!\032\007";
    const unsigned char *end = data + len;
    bool program = len > 2 && memcmp(data, "MZ", 2) == 0;
    for (const unsigned char *p = data;
         (p = memmem(p, (size_t)(end - p), mark, sizeof mark - 1)) != NULL; p++) {
        if (program || check_rar_header(p, (size_t)(end - p))) {
            return &rar;
        }
    }
    return NULL;
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

/* tar: POSIX pax, "ustar Interchange Format"; the places of the fields in the header. */
#define TAR_BLOCK 512U
#define TAR_SIZE 124U
#define TAR_SIZE_LEN 12U
#define TAR_SUM 148U
#define TAR_SUM_LEN 8U
#define TAR_TYPE 156U

static bool
tar_octal(const unsigned char *field, size_t len, uint64_t *ret)
{
    size_t i = 0;
    *ret = 0;
    while (i < len && field[i] == ' ') {
        i++;
    }
    for (; i < len && field[i] >= '0' && field[i] <= '7'; i++) {
        *ret = *ret << 3 | (field[i] - (unsigned)'0');
    }
    return i == len || field[i] == ' ' || field[i] == '\0';
}

/* Large sizes, and small ones by choice, are big-endian binary with the first bit set (GNU). */
static bool
tar_size(const unsigned char *header, uint64_t *ret)
{
    const unsigned char *field = header + TAR_SIZE;
    if ((field[0] & 0x80) == 0) {
        return tar_octal(field, TAR_SIZE_LEN, ret);
    }
    *ret = 0;
    for (size_t i = TAR_SIZE_LEN - sizeof *ret; i < TAR_SIZE_LEN; i++) {
        *ret = *ret << 8 | field[i];
    }
    return true;
}

/* The checksum is the sum of all bytes, its own field taken for spaces. Old tars took bytes for
 * signed. */
static bool
tar_is_header(const unsigned char *block)
{
    uint64_t claimed;
    int64_t sum = (int64_t)TAR_SUM_LEN * ' ';
    int64_t signed_sum = sum;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (i < TAR_SUM || i >= TAR_SUM + TAR_SUM_LEN) {
            sum += block[i];
            signed_sum += (int8_t)block[i];
        }
    }
    return tar_octal(block + TAR_SUM, TAR_SUM_LEN, &claimed) && block[0] != '\0' &&
           ((int64_t)claimed == sum || (int64_t)claimed == signed_sum);
}

/* Names, attributes and labels of other members. */
static bool
tar_is_about_others(unsigned char type)
{
    return type != '\0' && strchr("LKxgXNVMAI", type) != NULL;
}

/* Links, devices, directories and pipes have no content. Where one claims to have some, unpackers
 * disagree whether a header or content follows. */
static bool
tar_is_without_content(unsigned char type)
{
    return type >= '1' && type <= '6';
}

struct tar_survey
container_survey_tar(const unsigned char *data, size_t len)
{
    struct tar_survey survey = {0};
    size_t at = 0;
    while (len - at >= TAR_BLOCK) {
        const unsigned char *header = data + at;
        uint64_t size = 0;
        at += TAR_BLOCK;
        /* As GNU tar does, over the end mark (-i) and damage to the next header. */
        if (!tar_is_header(header)) {
            continue;
        }
        unsigned char type = header[TAR_TYPE];
        if (!tar_size(header, &size) || (size > 0 && tar_is_without_content(type))) {
            survey.odd = true;
            continue;
        }
        if (size > CLAM_IGNORES_UP_TO && !tar_is_about_others(type) &&
            !tar_is_without_content(type)) {
            survey.members++;
            survey.bytes += MIN(size, len - at);
        }
        uint64_t blocks = size / TAR_BLOCK + (size % TAR_BLOCK > 0);
        if (blocks >= (len - at) / TAR_BLOCK) {
            break;
        }
        at += (size_t)blocks * TAR_BLOCK;
    }
    return survey;
}

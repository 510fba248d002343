/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "container.h"

#include <string.h>
#include <glib.h>

#include "bytes.h"
#include "members.h"

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
 * LZMA-alone has no magic: properties below 225, a dictionary of at least 4 KB, a size below 2^40
 * or unknown, and a first byte 0 of the range coder. All tools write the properties 0x5d, and
 * then any sum of two powers will do as the dictionary; with others it must be what 7-Zip and
 * libarchive insist on too: 2^n or 2^n + 2^(n-1).
 */
static bool
check_lzma(const unsigned char *data, size_t len)
{
    if (len < 14 || data[13] != 0 || data[0] >= 225) {
        return false;
    }
    uint32_t dict = le32(data + 1);
    uint32_t rest = dict & (dict - 1);
    bool unknown = le32(data + 5) == UINT32_MAX && le32(data + 9) == UINT32_MAX;
    bool plausible = data[0] == 0x5d
                         ? (rest & (rest - 1)) == 0
                         : rest == 0 || dict - rest == rest >> 1 || rest == (dict - rest) << 1;
    return dict >= 4096 && plausible && (unknown || (le32(data + 9) < 256 && le32(data + 5) > 0));
}

/* ARC (and PAK): mark, method, a name of up to 12 characters with its NUL, a size that fits. */
static bool
check_arc(const unsigned char *data, size_t len)
{
    if (len < 29 || data[1] == 0 || data[1] > 11) {
        return false;
    }
    size_t name = 0;
    while (name < 13 && data[2 + name] > ' ' && data[2 + name] < 127) {
        name++;
    }
    return name > 0 && name < 13 && data[2 + name] == 0 && le32(data + 15) <= len - 29;
}

/* ext2 to ext4: beside the mark (bytes 56, 57 of the superblock) a block size of 1 to 64 KB and a
 * revision of 0 or 1. */
static bool
check_ext(const unsigned char *data, size_t len)
{
    return len >= 1024 + 80 && le32(data + 1024 + 24) <= 6 && le32(data + 1024 + 76) <= 1;
}

/* FAT: the mark of a boot sector, a sector size, one or two tables. */
static bool
check_fat(const unsigned char *data, size_t len)
{
    unsigned size = len >= 512 ? le16(data + 11) : 0;
    return size >= 512 && size <= 4096 && (size & (size - 1)) == 0 && data[16] >= 1 &&
           data[16] <= 2 && (data[0] == 0xeb || data[0] == 0xe9);
}

/* A fixed VHD is a raw disk with a footer. */
static bool
ends_as_vhd(const unsigned char *data, size_t len)
{
    return len > 512 && memcmp(data + len - 512, "conectix", 8) == 0;
}

static const struct magic magics[] = {
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 4, "PK\003\004", NULL},
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 8, "PK00PK\003\004", NULL},
    {{"ZIP archive", true, SURVEY_ZIP}, 0, 8, "PK\007\010PK\003\004", NULL},
    {{"7z archive", true, SURVEY_NONE}, 0, 6, "7z\274\257\047\034", NULL},
    {{"RAR archive", false, SURVEY_NONE}, 0, 6, "Rar!\032\007", NULL},
    {{"RAR archive", false, SURVEY_NONE}, 0, 4, "RE~^", NULL},
    {{"gzip file", true, SURVEY_GZIP}, 0, 3, "\037\213\010", NULL},
    {{"bzip2 file", true, SURVEY_BZIP2}, 0, 3, "BZh", check_bzip2},
    {{"xz file", true, SURVEY_XZ}, 0, 6, "\3757zXZ\0", NULL},
    {{"Zstandard file", false, SURVEY_NONE}, 0, 4, "\050\265\057\375", NULL},
    {{"Zstandard or LZ4 file", false, SURVEY_NONE}, 1, 3, "\052M\030", check_skippable},
    {{"LZ4 file", false, SURVEY_NONE}, 0, 4, "\004\"M\030", NULL},
    {{"LZ4 file", false, SURVEY_NONE}, 0, 4, "\002!L\030", NULL},
    {{"lzip file", false, SURVEY_NONE}, 0, 4, "LZIP", NULL},
    {{"lzop file", false, SURVEY_NONE}, 0, 9, "\211LZO\0\r\n\032\n", NULL},
    {{"compress file", false, SURVEY_NONE}, 0, 2, "\037\235", check_compress},
    {{"lrzip file", false, SURVEY_NONE}, 0, 4, "LRZI", NULL},
    {{"zpaq archive", false, SURVEY_NONE}, 0, 4, "7kSt", NULL},
    {{"CAB archive", true, SURVEY_NONE}, 0, 8, "MSCF\0\0\0\0", NULL},
    {{"ARJ archive", true, SURVEY_NONE}, 0, 2, "\140\352", check_arj},
    {{"LHA archive", true, SURVEY_LHA}, 2, 1, "-", check_lha},
    {{"ALZ archive", true, SURVEY_NONE}, 0, 4, "ALZ\001", NULL},
    {{"EGG archive", true, SURVEY_NONE}, 0, 4, "EGGA", NULL},
    {{"ACE archive", false, SURVEY_NONE}, 7, 7, "**ACE**", NULL},
    {{"ZOO archive", false, SURVEY_NONE}, 20, 4, "\334\247\304\375", NULL},
    {{"StuffIt archive", false, SURVEY_NONE}, 0, 8, "StuffIt ", NULL},
    {{"StuffIt archive", false, SURVEY_NONE}, 0, 4, "SIT!", NULL},
    {{"tar archive", true, SURVEY_TAR}, 257, 5, "ustar", NULL},
    {{"cpio archive", true, SURVEY_CPIO}, 0, 6, "070701", NULL},
    {{"cpio archive", true, SURVEY_CPIO}, 0, 6, "070702", NULL},
    {{"cpio archive", true, SURVEY_CPIO}, 0, 6, "070707", NULL},
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
    {{"SquashFS image", false, SURVEY_NONE}, 0, 4, "sqsh", NULL},
    {{"CramFS image", false, SURVEY_NONE}, 16, 16, "Compressed ROMFS", NULL},
    {{"romfs image", false, SURVEY_NONE}, 0, 8, "-rom1fs-", NULL},
    {{"ext file system", false, SURVEY_NONE}, 1080, 2, "\123\357", check_ext},
    {{"FAT file system", false, SURVEY_NONE}, 510, 2, "\125\252", check_fat},
    {{"NTFS file system", false, SURVEY_NONE}, 3, 8, "NTFS    ", NULL},
    {{"exFAT file system", false, SURVEY_NONE}, 3, 8, "EXFAT   ", NULL},
    {{"XFS file system", false, SURVEY_NONE}, 0, 4, "XFSB", NULL},
    {{"APFS container", false, SURVEY_NONE}, 32, 4, "NXSB", NULL},
    {{"QCOW image", false, SURVEY_NONE}, 0, 4, "QFI\373", NULL},
    {{"QED image", false, SURVEY_NONE}, 0, 4, "QED\0", NULL},
    {{"VDI image", false, SURVEY_NONE}, 64, 4, "\177\020\332\276", NULL},
    {{"VMDK image", false, SURVEY_NONE}, 0, 4, "KDMV", NULL},
    {{"VMDK image", false, SURVEY_NONE}, 0, 4, "COWD", NULL},
    {{"Parallels image", false, SURVEY_NONE}, 0, 16, "WithoutFreeSpace", NULL},
    {{"Parallels image", false, SURVEY_NONE}, 0, 16, "WithouFreSpacExt", NULL},
    {{"VHD image", false, SURVEY_NONE}, 0, 0, "", ends_as_vhd},
    {{"CHM help file", true, SURVEY_NONE}, 0, 4, "ITSF", NULL},
    {{"help file (ITOLITLS)", false, SURVEY_NONE}, 0, 8, "ITOLITLS", NULL},
    {{"AppleSingle file", false, SURVEY_NONE}, 0, 8, "\0\005\026\0\0\002\0\0", NULL},
    {{"DMS archive", false, SURVEY_NONE}, 0, 4, "DMS!", NULL},
    {{"LZX archive", false, SURVEY_NONE}, 0, 4, "LZX\0", NULL},
    {{"PPMd archive", false, SURVEY_NONE}, 0, 4, "\217\257\254\204", NULL},
    {{"rzip file", false, SURVEY_NONE}, 0, 4, "RZIP", NULL},
    {{"ARC archive", false, SURVEY_NONE}, 0, 1, "\032", check_arc},
    /* Last, because its mark is the weakest. */
    {{"LZMA file", false, SURVEY_NONE}, 0, 0, "", check_lzma},
};

/* libclamav's names for the kinds that have no magic number. */
static const struct {
    const char *clam_type;
    struct container container;
} typed[] = {
    {"CL_TYPE_OLD_TAR", {"tar archive", true, SURVEY_TAR}},
    {"CL_TYPE_CPIO_OLD", {"cpio archive", true, SURVEY_CPIO}},
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
    for (size_t i = 0; len > 0 && i < sizeof magics / sizeof magics[0]; i++) {
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

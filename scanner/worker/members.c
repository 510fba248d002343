/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "members.h"

#include <string.h>
#include <glib.h>

#include "bytes.h"

#define CLAM_IGNORES_UP_TO 5

static void
count(struct members *members, uint64_t size, size_t left)
{
    if (size > CLAM_IGNORES_UP_TO) {
        members->count++;
        members->bytes += MIN(size, left);
    }
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
bool
members_is_tar_header(const unsigned char *block)
{
    uint64_t claimed;
    int64_t sum = (int64_t)TAR_SUM_LEN * ' ';
    int64_t signed_sum = sum;
    /* Most blocks are none, and end here. */
    if (block[0] == '\0' || !tar_octal(block + TAR_SUM, TAR_SUM_LEN, &claimed)) {
        return false;
    }
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (i < TAR_SUM || i >= TAR_SUM + TAR_SUM_LEN) {
            sum += block[i];
            signed_sum += (int8_t)block[i];
        }
    }
    return (int64_t)claimed == sum || (int64_t)claimed == signed_sum;
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

struct members
members_of_tar(const unsigned char *data, size_t len)
{
    struct members survey = {0};
    size_t at = 0;
    while (len - at >= TAR_BLOCK) {
        const unsigned char *header = data + at;
        uint64_t size = 0;
        at += TAR_BLOCK;
        /* As GNU tar does, over the end mark (-i) and damage to the next header. */
        if (!members_is_tar_header(header)) {
            continue;
        }
        unsigned char type = header[TAR_TYPE];
        if (!tar_size(header, &size) || (size > 0 && tar_is_without_content(type))) {
            survey.odd = true;
            continue;
        }
        if (!tar_is_about_others(type) && !tar_is_without_content(type)) {
            count(&survey, size, len - at);
        }
        uint64_t blocks = size / TAR_BLOCK + (size % TAR_BLOCK > 0);
        if (blocks >= (len - at) / TAR_BLOCK) {
            break;
        }
        at += (size_t)blocks * TAR_BLOCK;
    }
    return survey;
}

/* cpio(5): three forms of one header. */
#define CPIO_FILE 0100000U
#define CPIO_TYPE 0170000U
#define CPIO_TRAILER "TRAILER!!!"

struct cpio_header {
    uint64_t mode;
    uint64_t name; /* bytes, with its NUL */
    uint64_t size;
    size_t len; /* of the header itself */
    unsigned align;
};

static bool
read_digits(const unsigned char *text, unsigned digits, unsigned base, uint64_t *ret)
{
    *ret = 0;
    for (unsigned i = 0; i < digits; i++) {
        int digit = g_ascii_xdigit_value((char)text[i]);
        if (digit < 0 || (unsigned)digit >= base) {
            return false;
        }
        *ret = *ret * base + (unsigned)digit;
    }
    return true;
}

/* Numbers of 16 bits in the byte order of the machine that wrote them. */
static uint16_t
half(const unsigned char *p, bool big)
{
    return big ? (uint16_t)(p[0] << 8 | p[1]) : le16(p);
}

static bool
cpio_binary(const unsigned char *p, size_t len, struct cpio_header *ret)
{
    bool big = p[0] == 0x71;
    if (len < 26 || half(p, big) != 070707) {
        return false;
    }
    *ret = (struct cpio_header){
        .mode = half(p + 6, big),
        .name = half(p + 20, big),
        .size = (uint64_t)half(p + 22, big) << 16 | half(p + 24, big),
        .len = 26,
        .align = 2,
    };
    return true;
}

static bool
cpio_read(const unsigned char *p, size_t len, struct cpio_header *ret)
{
    if (len >= 110 && (memcmp(p, "070701", 6) == 0 || memcmp(p, "070702", 6) == 0)) {
        *ret = (struct cpio_header){.len = 110, .align = 4};
        return read_digits(p + 14, 8, 16, &ret->mode) && read_digits(p + 54, 8, 16, &ret->size) &&
               read_digits(p + 94, 8, 16, &ret->name);
    }
    if (len >= 76 && memcmp(p, "070707", 6) == 0) {
        *ret = (struct cpio_header){.len = 76, .align = 1};
        return read_digits(p + 18, 6, 8, &ret->mode) && read_digits(p + 59, 6, 8, &ret->name) &&
               read_digits(p + 65, 11, 8, &ret->size);
    }
    return cpio_binary(p, len, ret);
}

static uint64_t
aligned(uint64_t n, unsigned to)
{
    return (n + to - 1) / to * to;
}

struct members
members_of_cpio(const unsigned char *data, size_t len)
{
    struct members members = {0};
    struct cpio_header header;
    uint64_t at = 0;
    while (at < len && cpio_read(data + at, len - (size_t)at, &header)) {
        uint64_t content = aligned(at + header.len + header.name, header.align);
        if (content > len) {
            break;
        }
        if (header.name == sizeof CPIO_TRAILER &&
            memcmp(data + at + header.len, CPIO_TRAILER, sizeof CPIO_TRAILER) == 0) {
            return members;
        }
        if ((header.mode & CPIO_TYPE) == CPIO_FILE) {
            count(&members, header.size, len - (size_t)content);
        }
        at = aligned(content + header.size, header.align);
    }
    /* Unpackers look for the next header behind damage; the end mark may be missing or not. */
    members.odd = at < len;
    return members;
}

/* LHA: size of the header, checksum, method, packed and unpacked size, ..., level. */
#define LHA_HEADER 22U

static bool
lha_sum(const unsigned char *p, size_t len)
{
    unsigned sum = 0;
    if (p[0] < LHA_HEADER - 2 || len < 2U + p[0]) {
        return false;
    }
    for (size_t i = 2; i < 2U + p[0]; i++) {
        sum += p[i];
    }
    return (sum & 0xff) == p[1];
}

static bool
lha_method(const unsigned char *p)
{
    return p[2] == '-' && p[6] == '-' &&
           (memcmp(p + 3, "lh", 2) == 0 || memcmp(p + 3, "lz", 2) == 0 ||
            memcmp(p + 3, "pm", 2) == 0);
}

bool
members_is_lha_header(const unsigned char *data, size_t len)
{
    if (len < LHA_HEADER || !lha_method(data)) {
        return false;
    }
    return data[20] <= 1 ? lha_sum(data, len) : data[20] == 2 && le16(data) >= 26;
}

struct members
members_of_lha(const unsigned char *data, size_t len)
{
    struct members members = {0};
    uint64_t at = 0;
    while (at < len && members_is_lha_header(data + at, len - (size_t)at)) {
        const unsigned char *p = data + at;
        uint64_t content = at + (p[20] == 2 ? le16(p) : 2U + p[0]);
        if (content > len) {
            break;
        }
        if (memcmp(p + 2, "-lhd-", 5) != 0) {
            count(&members, le32(p + 11), UINT32_MAX);
        }
        at = content + le32(p + 7);
    }
    members.odd = at < len && data[at] != 0;
    return members;
}

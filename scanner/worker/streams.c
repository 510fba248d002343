/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "streams.h"

#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "bytes.h"

#define CHUNK 65536
/* zlib: window bits, more for a gzip header. */
#define GZIP_BITS (15 + 16)
#define ZLIB_BITS 15

/* Unpacks one stream, into OUT if there is one. Returns zlib's last word; *RET_USED is how far it
 * came. */
static int
unpack(const unsigned char *data, size_t len, int bits, uint64_t limit, GByteArray *out,
       size_t *ret_used)
{
    unsigned char chunk[CHUNK];
    z_stream z = {.next_in = data, .avail_in = (uInt)MIN(len, UINT_MAX)};
    uint64_t total = 0;
    int rc = inflateInit2(&z, bits);
    while (rc == Z_OK && total < limit) {
        z.next_out = chunk;
        z.avail_out = (uInt)MIN(sizeof chunk, limit - total);
        rc = inflate(&z, Z_NO_FLUSH);
        size_t n = (size_t)(z.next_out - chunk);
        total += n;
        if (out != NULL && n > 0) {
            g_byte_array_append(out, chunk, (guint)n);
        }
    }
    *ret_used = (size_t)(z.next_in - data);
    inflateEnd(&z);
    return rc;
}

bool
streams_gzip(const unsigned char *data, size_t len, uint64_t limit)
{
    size_t at;
    if (unpack(data, len, GZIP_BITS, limit, NULL, &at) != Z_STREAM_END) {
        return false;
    }
    while (at < len && data[at] == 0) {
        at++;
    }
    return len - at >= 3 && memcmp(data + at, "\037\213\010", 3) == 0;
}

GByteArray *
streams_inflate(const unsigned char *data, size_t len, uint64_t limit)
{
    size_t used;
    /* RFC 1950 2.2: deflate, window up to 32 KB, a check of these two bytes, no dictionary. */
    if (len < 8 || (data[0] & 0x0f) != 8 || data[0] >> 4 > 7 ||
        (data[0] << 8 | data[1]) % 31 != 0 || (data[1] & 0x20) != 0) {
        return NULL;
    }
    g_autoptr(GByteArray) out = g_byte_array_new();
    (void)unpack(data, len, ZLIB_BITS, limit, out, &used);
    return out->len > 0 ? g_steal_pointer(&out) : NULL;
}

/* xz-file-format 1.2: header and footer of a stream, an index before the footer. */
#define XZ_HEADER 12U
#define XZ_FOOTER 12U

/* Variable-length integer (1.2): 7 bits a byte, the lowest first, 9 bytes at most. */
static bool
xz_number(const unsigned char **p, const unsigned char *end, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; *p < end && shift < 63; shift += 7) {
        unsigned char c = *(*p)++;
        *ret |= (uint64_t)(c & 127) << shift;
        if (c < 128) {
            return true;
        }
    }
    return false;
}

/* Bytes of all blocks of the stream whose index is at P; UINT64_MAX when it is broken. */
static uint64_t
xz_blocks(const unsigned char *p, const unsigned char *end)
{
    uint64_t records;
    uint64_t sum = 0;
    if (p >= end || *p++ != 0 || !xz_number(&p, end, &records)) {
        return UINT64_MAX;
    }
    for (; records > 0; records--) {
        uint64_t packed;
        uint64_t size;
        if (!xz_number(&p, end, &packed) || !xz_number(&p, end, &size) || packed > UINT32_MAX) {
            return UINT64_MAX;
        }
        sum += (packed + 3) & ~3ULL;
    }
    return sum;
}

bool
streams_xz(const unsigned char *data, size_t len)
{
    const unsigned char *end = data + len;
    while (len >= 4 && le32(end - 4) == 0) {
        len -= 4;
        end -= 4;
    }
    if (len < XZ_HEADER + XZ_FOOTER || memcmp(end - 2, "YZ", 2) != 0 ||
        crc32(0, end - 8, 6) != le32(end - XZ_FOOTER)) {
        return true;
    }
    uint64_t index = ((uint64_t)le32(end - 8) + 1) * 4;
    if (index > len - XZ_HEADER - XZ_FOOTER) {
        return true;
    }
    uint64_t blocks = xz_blocks(end - XZ_FOOTER - index, end - XZ_FOOTER);
    return blocks != len - XZ_HEADER - XZ_FOOTER - index;
}

bool
streams_bzip2(const unsigned char *data, size_t len)
{
    static const char block[] = "1AY&SY";
    const unsigned char *end = data + len;
    const unsigned char *p = data + MIN(len, 4);
    if (len == 0) {
        return false;
    }
    /* Streams begin at a byte, and 72 bits do not come about by chance. */
    while ((p = memmem(p, (size_t)(end - p), block, sizeof block - 1)) != NULL) {
        if (p - data >= 8 && memcmp(p - 4, "BZh", 3) == 0 && p[-1] >= '1' && p[-1] <= '9') {
            return true;
        }
        p++;
    }
    return false;
}

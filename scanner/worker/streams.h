/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STREAMS_H
#define STREAMS_H

/*
 * Compressed files of several streams: unpackers join them (RFC 1952 2.2; xz-file-format 2), while
 * libclamav 1.4 unpacks the first one and says nothing of the others.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

/*
 * Another member follows the first one of the gzip file, at once or behind zeros. Unpacks the
 * first; gives up, false, where that exceeds LIMIT bytes (then it was not scanned whole anyway) or
 * is damaged.
 */
bool streams_gzip(const unsigned char *data, size_t len, uint64_t limit);

/* The xz file does not consist of exactly one stream whose index agrees with its length. */
bool streams_xz(const unsigned char *data, size_t len);

/* Another bzip2 stream begins somewhere after the first. */
bool streams_bzip2(const unsigned char *data, size_t len);

/*
 * What the zlib stream (RFC 1950) at DATA unpacks to, at most LIMIT bytes; NULL when it is none,
 * or nothing comes out. A damaged or cut off stream yields what can be had.
 */
GByteArray *streams_inflate(const unsigned char *data, size_t len, uint64_t limit);

#endif

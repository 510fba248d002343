/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BYTES_H
#define BYTES_H

/* Little-endian numbers in the headers of archives. */

#include <stdint.h>

static inline uint16_t
le16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
le32(const unsigned char *p)
{
    return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

#endif

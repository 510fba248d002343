/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "crc32.h"

uint32_t
crc32_of(const unsigned char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xedb88320U & -(crc & 1));
        }
    }
    return ~crc;
}

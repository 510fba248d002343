/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The CRC-32 of ZIP, RAR and 7z: polynomial 0xedb88320, reflected. For headers: not fast. */
uint32_t crc32_of(const unsigned char *data, size_t len);

#endif

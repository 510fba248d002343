/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MEMBERS_H
#define MEMBERS_H

/*
 * The files that some unpacker finds in an archive whose headers stand before its members, and
 * that libclamav stops reading in silence at the first header it does not understand: tar (POSIX
 * pax, GNU tar manual "Basic Tar Format"), cpio (cpio(5)), LHA (header levels 0 to 2).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct members {
    unsigned count; /* of more than 5 bytes: libclamav ignores what is smaller */
    uint64_t bytes; /* of these */
    bool odd;       /* unpackers disagree about where its members are */
};

/* Each takes the LEN bytes at DATA, which begin as such an archive does. */
struct members members_of_tar(const unsigned char *data, size_t len);
struct members members_of_cpio(const unsigned char *data, size_t len);
struct members members_of_lha(const unsigned char *data, size_t len);

/* The 512 bytes at BLOCK are a tar header: its checksum is right. */
bool members_is_tar_header(const unsigned char *block);

/* A member of an LHA archive begins at DATA. */
bool members_is_lha_header(const unsigned char *data, size_t len);

#endif

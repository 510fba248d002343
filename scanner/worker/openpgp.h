/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef OPENPGP_H
#define OPENPGP_H

/*
 * OpenPGP messages (RFC 4880, RFC 9580), binary or armored. Not every one is encrypted: `gpg
 * --sign` and `gpg --store` make files that everybody can open, and libclamav does not.
 */

#include <stddef.h>
#include <glib.h>

enum openpgp_kind {
    OPENPGP_NONE,
    OPENPGP_ENCRYPTED, /* for its recipients, or with a password */
    OPENPGP_SIGNED,    /* clear text with a signature around it (RFC 4880, 7) */
    OPENPGP_OPENED,    /* signed or only packed: the content was brought out */
    OPENPGP_UNOPENED,  /* the same, but packed in a way that nobody here unpacks, or damaged */
};

/*
 * What the LEN bytes at DATA are. With OPENPGP_OPENED *RET_CONTENT is the content, at most ROOM
 * bytes (more is OPENPGP_UNOPENED); else it is NULL. Armor that cannot be decoded is taken for
 * encrypted; binary data only when its packets fit together up to the end.
 */
enum openpgp_kind openpgp_look(const unsigned char *data, size_t len, size_t room,
                               GByteArray **ret_content);

#endif

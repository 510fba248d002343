/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SMIME_H
#define SMIME_H

/*
 * S/MIME whose content lies inside its signature ("opaque", RFC 8551 3.5.2): anybody can read it,
 * and mail programs show it as if it were the mail, but libclamav does not look inside.
 */

#include <stdbool.h>
#include <stddef.h>
#include <glib.h>

/* The name or type of a part says S/MIME ("application/pkcs7-mime", "smime.p7m"). NULL = none. */
bool smime_is_named(const char *type, const char *filename);

/*
 * The content of a signed CMS structure (DER or BER, or their base64 text). Signatures are not
 * looked at. NULL when it is of another kind (encrypted), has no content, or is no CMS at all.
 */
GByteArray *smime_signed_content(const unsigned char *data, size_t len);

enum smime_kind {
    SMIME_NONE,      /* no CMS at all */
    SMIME_SIGNED,    /* SignedData: signature, certificates, content or not */
    SMIME_ENCRYPTED, /* EnvelopedData, AuthEnvelopedData: for its recipients alone */
    SMIME_OTHER,     /* CompressedData and whatever else nobody opens here */
};
enum smime_kind smime_kind(const unsigned char *data, size_t len);

#endif

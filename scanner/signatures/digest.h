/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DIGEST_H
#define DIGEST_H

/*
 * SHA-256 of files, by libcrypto: 1.6 GB/s on a processor that has instructions for it, where
 * GLib's GChecksum has 0.3, and a set has half a gigabyte that is hashed each time it is taken,
 * tried, loaded or given.
 */

#include <glib.h>

struct digest;

struct digest *digest_new(void);
void digest_free(struct digest *digest);
typedef struct digest digest_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(digest_t, digest_free)

void digest_add(struct digest *digest, const void *bytes, size_t n);
/* Ends it: 64 hexadecimal digits. */
void digest_end(struct digest *digest, char ret[65]);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SPACE_H
#define SPACE_H

/* What signatures may take of a file system: never the last of it, on which others depend. */

#include "manifest.h"

/* What is left to others; as much as state_low_water is by default. */
#define SPACE_LEFT (64ULL << 20)

/* Bytes that may be taken where the directory FD is; G_MAXUINT64: nobody can tell. */
guint64 space_free(int fd);
/* Whether BYTES more fit into DIR, which is open as FD. Returns 0; or -ENOSPC, with one sentence.
 */
int space_check(int fd, const char *dir, guint64 bytes, char **error_r);
/* Whether the files of MANIFEST have no more than LIMIT bytes; in *BYTES_R (may be NULL) how many.
 * Their sizes are a stranger's word. Returns 0 or -EFBIG. */
int space_check_size(const struct manifest *manifest, guint64 limit, guint64 *bytes_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CVD_HEAD_H
#define CVD_HEAD_H

/*
 * The first 512 bytes of a CVD or CLD: fields with colons between them, padded with spaces
 * (ClamAV's documentation, "CVD file format"): ClamAV-VDB:build time:version:signatures:level:
 * MD5:signature:builder:build time in seconds. Nothing here says that the file is genuine.
 */

#include <glib.h>

#define CVD_HEAD_SIZE 512

struct cvd_head {
    guint version;
    guint64 signatures;
    gint64 built; /* Unix seconds; 0: not said */
};

/* Whether NAME ends as such a file's does. */
gboolean cvd_head_is_name(const char *name);
/* Whether two such files are of one database, as daily.cvd and daily.cld are: of both in one
 * directory libclamav loads the one whose header says that it is newer, and leaves the other out.
 */
gboolean cvd_head_is_same(const char *name, const char *other);

/* Reads the header at the beginning of FD. Returns 0, -EBADMSG (it is none), or -errno. */
int cvd_head_read(int fd, struct cvd_head *ret);

#endif

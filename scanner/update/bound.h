/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BOUND_H
#define BOUND_H

/*
 * What one fetch may take of the disk, whatever a mirror sends and postern-fetch makes of it: no
 * file larger than there is room for in a set (update_size), beside it once the same for the old
 * file or what is unpacked, and never the last 64 MB of the file system (space.h).
 */

#include "settings.h"
#include "source.h"

struct bound {
    const char *dir;  /* update_dir; borrowed */
    int fd;           /* the source's directory; borrowed */
    guint64 file;     /* most bytes of a file */
    guint64 all;      /* of all files there */
    gboolean of_disk; /* FILE is what the disk has room for */
};

/* For SOURCE of SOURCES, in whose directory FD is; borrows SETTINGS. Returns 0, or -ENOSPC with one
 * sentence. */
int bound_begin(struct bound *bound, const struct settings *settings, GPtrArray *sources,
                const struct source *source, int fd, char **error_r);

/* NULL, or one sentence why the fetch has to end. To be freed by g_free(). */
char *bound_broken(const struct bound *bound);
/* Why a file was too large. To be freed by g_free(). */
char *bound_text(const struct bound *bound);

#endif

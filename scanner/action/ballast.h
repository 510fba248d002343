/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BALLAST_H
#define BALLAST_H

/*
 * state_dir/ballast: room that nobody else can take. When the file system is full to the last
 * byte, even a deletion cannot be written down; then the ballast goes, and comes back when there
 * is room again. Mail never uses it: it keeps to the low-water mark.
 */

#include <glib.h>

/* At most this much, and at most half of the low-water mark. */
#define BALLAST_MAX (8U * 1024U * 1024U)

/*
 * Lays it down unless it is there; FREE is what the file system has. Nothing happens when that
 * would leave less than as much again. Best effort.
 */
void ballast_lay(int dirfd, guint64 low_water, guint64 free_bytes);
/* Throws it off. Returns TRUE when there was one: trying again makes sense. */
gboolean ballast_drop(int dirfd);

#endif

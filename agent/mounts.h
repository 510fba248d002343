/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MOUNTS_H
#define MOUNTS_H

/*
 * The table of mounts, /proc/self/mountinfo (proc(5)): to read it touches no file system, so
 * nothing hangs on one that is dead.
 */

#include <stdbool.h>

/* Is something mounted at PATH (absolute, without links)? Also true when the table cannot be
 * read. */
bool mounts_has(const char *path);

/* The mount point that PATH (absolute, without links) is on; NULL when the table cannot be read.
 * To be freed with g_free(). */
char *mounts_of(const char *path);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TMPDIR_H
#define TMPDIR_H

#include "orders.h"

/*
 * A worker's temporary directory: a tmpfs of its own that is attached to no path and dies with
 * the worker. libclamav draws its temporary names from a generator whose state forked workers
 * share, and calls a file clean when it meets its own name: a private, empty directory is a
 * matter of correctness.
 */

/*
 * Makes one of SIZE bytes for user UID and group GID of this user namespace. Returns its
 * descriptor (close-on-exec), to be fchdir'ed into, or -errno. Needs CAP_SYS_ADMIN.
 */
int tmpdir_new(guint64 size, unsigned uid, unsigned gid);

/*
 * Takes the current directory, which must be empty, as this process's temporary directory.
 * Returns 0, -ENOTEMPTY or another -errno.
 */
int tmpdir_adopt(void);

/*
 * Removes all that is in the current directory. Returns 0 or -errno; -EXDEV when it is not the
 * one that was adopted: nobody's files are to be lost.
 */
int tmpdir_empty(void);

#endif

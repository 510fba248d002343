/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PLACE_H
#define PLACE_H

#include "settings.h"

/*
 * Is the state where the cluster has put it? state_dir must be a directory of the daemon's user
 * and, unless state_storage is "shared", on a file system that this node does not have by itself:
 * not the one of /, /run or Pacemaker's own /var/lib/pacemaker. (posternd would otherwise begin
 * an empty state below a mount point whose file system is elsewhere.)
 * Returns 0, or -errno with one sentence in *ERROR_R (g_free): -ENOENT, -ENOTDIR, -EACCES (owner),
 * -ENODEV (not mounted).
 */
int place_check(const struct settings *settings, char **error_r);

#endif

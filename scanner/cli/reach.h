/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REACH_H
#define REACH_H

#include <glib.h>

/*
 * Connects to the stream socket PATH as USER with all groups of that user would, inside ROOT (NULL:
 * no change of root), in a process of its own. Returns 0; or -errno, with the part of PATH that
 * refused in *RET_PART (to be freed by g_free(); NULL when it is not known). -EPERM: only root can
 * try as another user or in another root.
 */
int reach_socket(const char *root, const char *path, const char *user, char **ret_part);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCRATCH_H
#define SCRATCH_H

/* Files for the cluster manager's tools, which read CIBs by path. A CIB has passwords in it. */

#include <glib.h>
#include <libxml/tree.h>

/* DOC in a new file that only this user can read. Returns its path (scratch_remove(), g_free()),
 * or NULL with one sentence in *ERROR_R. */
char *scratch_file(xmlDoc *doc, char **error_r);
void scratch_remove(const char *path);

/* Writes TEXT to PATH, which must not exist, for this user alone. Returns 0 or -errno. */
int scratch_write(const char *path, const char *text, char **error_r);

#endif

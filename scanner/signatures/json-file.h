/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef JSON_FILE_H
#define JSON_FILE_H

/*
 * JSON in files that another user may write, also while they are read: never more than a limit in
 * memory, and nothing that waits.
 */

#include <stddef.h>
#include <jansson.h>

/* What the regular file FD holds, at most MOST bytes. A new reference; NULL: something else. */
json_t *json_file_read(int fd, size_t most);
/* The same of PATH, which is no link. */
json_t *json_file_load(const char *path, size_t most);

#endif

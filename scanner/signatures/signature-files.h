/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SIGNATURE_FILES_H
#define SIGNATURE_FILES_H

/* Which files are signatures: those whose extension libclamav loads from a directory. */

#include <glib.h>

struct signature_file {
    char *path; /* absolute */
    char *name; /* last component of what was named */
};

/*
 * The signature files that PATHS (NULL-terminated) name: files, and the signature files in
 * directories (not deeper). Sorted by name. Returns NULL with one sentence in *ERROR_R when a path
 * cannot be read, has no signatures, or when a name comes twice. Of struct signature_file *.
 */
GPtrArray *signature_files_find(char *const paths[], char **error_r);

/* Whether NAME (no slash) has an extension that libclamav loads and does not begin with a dot. */
gboolean signature_files_is_name(const char *name);

/* All names in the directory FD but "." and "..", of char *; NULL when it cannot be read. */
GPtrArray *signature_files_all(int fd);

/*
 * Reads the regular file FD from its position to the end, at most LIMIT bytes. SHA256 becomes 64
 * hexadecimal digits. Returns the number of bytes, -EFBIG, -EINVAL (no regular file), or -errno.
 */
gint64 signature_files_sum(int fd, guint64 limit, char sha256[65]);

#endif

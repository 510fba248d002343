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

/* Whether libclamav loads a file called NAME (no slash) from a directory. */
gboolean signature_files_is_loaded(const char *name);
/* The same, and it does not begin with a dot: what a generation may call a file. */
gboolean signature_files_is_name(const char *name);
/*
 * Why a generation takes no file called NAME, though libclamav would load it; NULL: it takes it.
 * One line of a .cfg file turns the unpacking of programs or office documents off, and what is in
 * them is called clean. ClamAV's own databases have one inside, and libclamav loads no CVD or CLD
 * without a signature over all files in it (tried with 1.4.6); a .cud has none. For people: "NAME:
 * TEXT".
 */
const char *signature_files_refusal(const char *name);

/* All names in the directory FD but "." and "..", of char *; NULL with errno when it cannot be read
 * to its end: fewer files are another set. */
GPtrArray *signature_files_all(int fd);

/*
 * Reads the regular file FD from its position to the end, at most LIMIT bytes. SHA256 becomes 64
 * hexadecimal digits. Returns the number of bytes, -EFBIG, -EINVAL (no regular file), or -errno.
 */
gint64 signature_files_sum(int fd, guint64 limit, char sha256[65]);

#endif

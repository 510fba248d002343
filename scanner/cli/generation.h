/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GENERATION_H
#define GENERATION_H

/*
 * A generation: a directory in signatures_dir with the signature files that are used together and
 * a manifest.json that says where each came from. Its name is the beginning of a SHA-256 over the
 * sorted names and contents, so the same files give the same generation. `current` is a symbolic
 * link to the one in use. A generation is never changed; both it and the link appear whole.
 */

#include <glib.h>

struct generation {
    char name[17]; /* 16 hexadecimal digits */
    guint files;
    guint64 bytes;
    gboolean existed; /* it was there already */
};

/*
 * Makes a generation of PATHS (NULL-terminated; files, or directories whose signature files are
 * taken) and points `current` at it. Makes DIR when it is absent. Returns 0, or -errno with one
 * sentence in *ERROR_R and nothing changed.
 */
int generation_add(const char *dir, char *const paths[], struct generation *ret, char **error_r);

#endif

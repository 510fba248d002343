/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SAMPLES_H
#define SAMPLES_H

/*
 * What new signatures are tried on: files that must not be called infected, and files that must.
 * The shipped ones are made here, byte for byte the same each time, so that no other scanner meets
 * EICAR on a disk, and processor times can be compared. An administrator adds directories.
 */

#include <stdbool.h>
#include <glib.h>

struct sample {
    char *name;      /* "a PDF file", or of a file its name; for people after text_escape() */
    GBytes *content; /* NULL: it is in */
    char *path;
    bool infected; /* must be found; else it must not */
    bool shipped;
};

/* Made by the project; of struct sample *. */
GPtrArray *samples_shipped(void);

/* More of one directory than this are left out. */
#define SAMPLES_DIR_MAX 2000
/*
 * Adds the regular files in DIR (not deeper, not those whose name begins with a dot) by name.
 * Returns 0 or -errno with one sentence.
 */
int samples_add_dir(GPtrArray *samples, const char *dir, bool infected, char **error_r);

/*
 * The sample in sealed memory, as a worker takes it: a descriptor for close(); or -errno, -EFBIG
 * when it has more than LIMIT bytes.
 */
int sample_memfd(const struct sample *sample, guint64 limit);

#endif

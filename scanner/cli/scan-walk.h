/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCAN_WALK_H
#define SCAN_WALK_H

/*
 * The files that `postern scan` is given, one after the other: named ones, all below named
 * directories, the standard input. A link that is named is followed, and said to be; one inside a
 * directory is passed over.
 */

#include <glib.h>

struct scan_walk_options {
    char **exclude;       /* shell patterns for paths or last parts of paths; may be NULL */
    gboolean same_device; /* do not enter other file systems */
};

enum scan_item_kind {
    SCAN_ITEM_FILE,
    SCAN_ITEM_SKIPPED, /* text says why; not scanned and no error */
    SCAN_ITEM_NOTE,    /* text is something to know about the next one */
    SCAN_ITEM_ERROR,   /* text says what went wrong */
};

struct scan_item {
    enum scan_item_kind kind;
    char *path; /* freed by scan_item_clear() */
    char *text;
    int fd;       /* of a file, to be taken over by setting it to -1 */
    guint64 size; /* of a file, 0 = unknown */
};

struct scan_walk;

/* PATHS (NULL-terminated) and OPTIONS are kept. */
struct scan_walk *scan_walk_new(char **paths, const struct scan_walk_options *options);
void scan_walk_free(struct scan_walk *walk);

/* FALSE at the end. */
gboolean scan_walk_next(struct scan_walk *walk, struct scan_item *ret_item);
void scan_item_clear(struct scan_item *item);

/* Directories that were entered. */
guint scan_walk_directories(const struct scan_walk *walk);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MTA_UNDO_H
#define MTA_UNDO_H

/*
 * Takes an edit of main.cf or master.cf back out of a file that others may have changed since. The
 * unit is an entry, a parameter or a service with its continuation lines, or the comments up to the
 * next one.
 */

#include <glib.h>

enum mta_undo {
    MTA_UNDO_WHOLE,  /* nobody else changed the file: byte for byte as before */
    MTA_UNDO_MERGED, /* others changed other entries: theirs stay, ours are as before */
    MTA_UNDO_OPEN,   /* others changed the same entries: those stay as they are, see below */
};

enum mta_syntax {
    MTA_MAIN,   /* "name = value" */
    MTA_MASTER, /* "name type ..." */
};

/*
 * NOW with what changed from BEFORE to AFTER taken back, in *RESULT_R (g_free()). For MTA_UNDO_OPEN
 * the names of the entries that somebody else changed too ("smtpd_milters", "submission/inet") are
 * added to OPEN (of char *, owned by it).
 */
enum mta_undo mta_undo(enum mta_syntax syntax, const char *before, const char *after,
                       const char *now, char **result_r, GPtrArray *open);

#endif

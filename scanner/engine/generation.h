/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GENERATION_H
#define GENERATION_H

/*
 * Signature generations: signatures_dir/NAME/ holds one complete set of signature files, and
 * signatures_dir/current is a symbolic link to the one in use. Whoever makes a generation never
 * changes it afterwards, only the link.
 */

#include <stdbool.h>

#include "manifest.h"

struct generation {
    char *name; /* NULL = there is none: built-in signatures only */
    char *path; /* of the directory itself, not of the link */
};

/*
 * Follows signatures_dir/current. Returns 0 (with both NULL when there is no link), or -errno with
 * a sentence: a link that leads nowhere or out of SIGNATURES_DIR is no "none".
 */
int generation_resolve(const char *signatures_dir, struct generation *ret, char **error_r);
/* Frees what is inside. */
void generation_clear(struct generation *generation);

/*
 * For when there is no link: why the built-in signatures alone would be wrong, in one sentence that
 * says what to do; to be freed by g_free(). NULL: this is a first start, which is a directory in
 * which no signatures lie and none were in use. HAD: some are known to have been in use. A
 * directory that is not there is none in which nothing lies, for a file system may be missing.
 */
char *generation_missing(const char *signatures_dir, bool had);

/*
 * Whether the files in the directory PATH are what its manifest says, by their hashes: what a disk
 * or a person did to a file of signatures libclamav may not notice. One that is not called as the
 * store calls its own was made by hand, and is as it is. Reads all of it. Returns 0, -EBADMSG
 * (damaged) or another -errno, with one sentence.
 */
int generation_check(const char *path, char **error_r);

/* What changes when somebody touches a file of PATH: names, numbers, sizes, times. Reads none of
 * them. "" for what was made by hand, where everybody may. To be freed by g_free(). */
char *generation_print(const char *path);

/* What is known of the signatures in a generation's directory. */
struct generation_about {
    gint64 newest;  /* Unix seconds: as manifest_time(); 0: not known */
    guint database; /* version of the official database, the daily one before others; 0: none */
    gint64 database_time;      /* when that was built */
    struct manifest *manifest; /* NULL: it has none */
};

/* Of a directory that somebody made by hand only the files' times are known; of PATH NULL nothing.
 */
void generation_look(const char *path, struct generation_about *ret);
void generation_about_clear(struct generation_about *about);

#endif

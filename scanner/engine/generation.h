/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GENERATION_H
#define GENERATION_H

/*
 * Signature generations: signatures_dir/NAME/ holds one complete set of signature files, and
 * signatures_dir/current is a symbolic link to the one in use. Whoever makes a generation never
 * changes it afterwards, only the link.
 */

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

#endif

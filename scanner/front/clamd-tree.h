/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_TREE_H
#define CLAMD_TREE_H

/*
 * SCAN, CONTSCAN, MULTISCAN and ALLMATCHSCAN: the file or all files below the directory that a
 * client names. The names are read one after the other while the files are scanned, never all at
 * once, so a directory of any size takes bounded memory.
 */

#include "clamd-item.h"

struct clamd_tree;

struct clamd_tree_ops {
    /* The verdict on one file, none of them clean; or an error at PATH. Both borrowed. */
    void (*result)(void *owner, const char *path, const struct clamd_verdict *verdict);
    /* FALSE: nobody takes the results now; clamd_tree_continue() says when. */
    gboolean (*takes)(void *owner);
    /* The end, once; from the event loop. CLEAN: all was scanned and nothing found. */
    void (*ended)(void *owner, gboolean clean);
};

struct clamd_tree_options {
    gboolean stop;  /* at the first file in which something is found */
    guint parallel; /* files at the same time */
};

/* PATH is copied; OPS outlive it. Results and the end never come from within this call. */
struct clamd_tree *clamd_tree_start(struct clamd_services *services, const char *path,
                                    const struct clamd_tree_options *options,
                                    const struct clamd_tree_ops *ops, void *owner);
/* Also under way, then without a call of OPS; and in ended(). NULL is fine. */
void clamd_tree_free(struct clamd_tree *tree);

void clamd_tree_continue(struct clamd_tree *tree);

#endif

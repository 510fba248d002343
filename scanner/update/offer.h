/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef OFFER_H
#define OFFER_H

/*
 * What postern-update has to give: update_dir/offer/, the files of all sources with a manifest as a
 * generation has one. Whoever takes it (store_take) believes nothing but hashes. It is replaced
 * whole, so a reader who opened the directory sees one offer or finds a file missing.
 */

#include <glib.h>

#include "manifest.h"
#include "settings.h"

/* What could not be had of a directory of this machine, or has no place beside the rest. */
struct offer_problem {
    char *path;
    char *error;
};

struct offer {
    char name[MANIFEST_NAME_DIGITS + 1];
    gboolean is_new;     /* other than the last one */
    GPtrArray *problems; /* of struct offer_problem * */
};

/*
 * Puts together what the sources and update_directories hold. What cannot be read of a directory
 * is taken from the last offer, where that had it, and left out otherwise; so is what is of a URL
 * or a directory and does not fit into update_size, or has the name of another file. The rest goes
 * on, and RET->problems says what is wrong. Returns 0; -ENOENT: an official database has never been
 * fetched, or there is nothing at all; or -errno; with one sentence and the old offer in place.
 * RET is to be cleared in any case.
 */
int offer_make(const struct settings *settings, struct offer *ret, char **error_r);
void offer_clear(struct offer *offer);

#endif

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

#define OFFER_DIR "offer"

struct offer {
    char name[MANIFEST_NAME_DIGITS + 1];
    gboolean is_new; /* other than the last one */
};

/*
 * Puts together what the sources and update_directories hold. Returns 0; -ENOENT: an official
 * database has never been fetched, or there is nothing at all; or -errno; with one sentence and the
 * old offer in place.
 */
int offer_make(const struct settings *settings, struct offer *ret, char **error_r);

#endif

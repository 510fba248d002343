/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MANIFEST_H
#define MANIFEST_H

#include <glib.h>

/* Updates change some file every day; a set this old misses what is new. */
#define MANIFEST_OLD_DAYS 3

/*
 * Unix seconds of the newest file of the current generation in SIGNATURES_DIR, by its manifest:
 * how old the set is. 0 when there is none or it cannot be read.
 */
gint64 manifest_newest(const char *signatures_dir);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef COOLDOWN_H
#define COOLDOWN_H

/*
 * Until when a mirror that said 403 or 429 wants to be left alone: libfreshclam keeps it in
 * freshclam.dat and returns success (freshclam_dat_v1_t in ClamAV's libfreshclam_internal.h, the
 * same from 0.103.2 to 1.5: "FreshClamData", uint32_t 1, char[37], time_t).
 */

#include <glib.h>

/* Unix seconds from the file in the directory DIRFD; 0: none is said, or it is not that file. */
gint64 cooldown_read(int dirfd);
/* Removes the file when it says more than a day from NOW: Retry-After is a stranger's word, and a
 * clock may have been wrong. */
void cooldown_limit(int dirfd, gint64 now);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_INFO_H
#define CLAMD_INFO_H

/* What VERSION, VERSIONCOMMANDS and STATS answer. All are freed with g_free(). */

#include "clamd-item.h"

/*
 * "ClamAV 1.4.6-postern-0.1/27500/Thu Nov 19 10:00:00 2026": libclamav's version, with ours where
 * clamd has its package's revision; then version and time of the official signatures, which are
 * left out, as clamd does, when none of those are loaded.
 */
char *clamd_info_version(const struct clamd_services *services);
char *clamd_info_commands(const struct clamd_services *services);
/* In clamd's form: workers stand for threads. Ends with "END". */
char *clamd_info_stats(const struct clamd_services *services);

#endif

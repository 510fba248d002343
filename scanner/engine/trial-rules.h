/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRIAL_RULES_H
#define TRIAL_RULES_H

/* What a trial measured, judged beside what is in use: pure functions. */

#include <glib.h>

#include "record.h"
#include "settings.h"

/* Below this no set is called slow: a busy node's caches alone make such differences. */
#define TRIAL_SCAN_FREE_US (1500 * 1000ULL)
/* The least that a trial may take, whatever its predecessor took. */
#define TRIAL_MEMORY_LEAST (1ULL << 30)

/* The zygote's own, beside every set. */
#define TRIAL_BUILTIN_SIGNATURES 1

/* Why LOADED is no set of signatures at all; NULL: it is one. For g_free(). */
char *trial_rules_empty(const struct record_trial *loaded);

/* Why LOADED is too small beside BEFORE (signatures 0: not known); NULL: it is not. For g_free().
 */
char *trial_rules_small(const struct settings *settings, const struct record_trial *loaded,
                        const struct record_trial *before);

/* Why scanning with it takes too long beside BEFORE (scan_us 0: not known); NULL: it does not. */
char *trial_rules_slow(const struct settings *settings, const struct record_trial *scanned,
                       const struct record_trial *before);

/*
 * Bytes that a trial of what is likely to need NEEDED may take: the setting trial_memory, or twice
 * of it, since the estimate is rough, but no less than TRIAL_MEMORY_LEAST.
 */
guint64 trial_rules_memory(const struct settings *settings, guint64 needed);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "trial-rules.h"

char *
trial_rules_empty(const struct record_trial *loaded)
{
    return loaded->signatures > TRIAL_BUILTIN_SIGNATURES ? NULL
                                                         : g_strdup("there is no signature in it");
}

char *
trial_rules_small(const struct settings *settings, const struct record_trial *loaded,
                  const struct record_trial *before)
{
    guint64 kept = 100 - MIN(settings->trial_shrink, 100);
    if (before->signatures == 0 ||
        (double)loaded->signatures >= (double)before->signatures * (double)kept / 100) {
        return NULL;
    }
    return g_strdup_printf("it has only %" G_GUINT64_FORMAT " signatures; what is in use has "
                           "%" G_GUINT64_FORMAT ", and trial_shrink allows %" G_GUINT64_FORMAT
                           " %% less",
                           loaded->signatures, before->signatures, settings->trial_shrink);
}

char *
trial_rules_slow(const struct settings *settings, const struct record_trial *scanned,
                 const struct record_trial *before)
{
    if (before->scan_us == 0 || scanned->scan_us <= TRIAL_SCAN_FREE_US ||
        scanned->scan_us / settings->trial_slowdown <= before->scan_us) {
        return NULL;
    }
    return g_strdup_printf(
        "scanning the clean samples takes %.1f s of processor time, with what is "
        "in use %.1f s, and trial_slowdown allows %" G_GUINT64_FORMAT " times as much",
        (double)scanned->scan_us / G_USEC_PER_SEC, (double)before->scan_us / G_USEC_PER_SEC,
        settings->trial_slowdown);
}

guint64
trial_rules_memory(const struct settings *settings, guint64 needed)
{
    return settings->trial_memory > 0 ? settings->trial_memory
                                      : MAX(2 * needed, TRIAL_MEMORY_LEAST);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "age.h"

#include <string.h>

#include "log.h"

#define SECONDS_PER_DAY 86400
#define SECONDS_PER_HOUR 3600

static void
warn(struct age *age, const struct report *report, gint64 now)
{
    gint64 hours = (now - report->newest) / SECONDS_PER_HOUR;
    bool is_other = strcmp(age->generation, report->generation) != 0;
    if (!is_other && now >= age->warned && now - age->warned < SECONDS_PER_DAY) {
        return;
    }
    age->warned = now;
    g_strlcpy(age->generation, report->generation, sizeof age->generation);
    log_warning("generation %s: the newest of the signatures is %" G_GINT64_FORMAT " days and "
                "%" G_GINT64_FORMAT " hours old: new viruses pass; see postern signatures status",
                report->generation, hours / 24, hours % 24);
}

bool
age_is_over(struct age *age, const struct settings *settings, const struct report *report)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    bool is_known = report->newest > 0 && !report->test_only;
    if (settings->age_limit == 0 || !is_known ||
        now - report->newest <= (gint64)settings->age_limit) {
        return false;
    }
    warn(age, report, now);
    return true;
}

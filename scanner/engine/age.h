/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef AGE_H
#define AGE_H

/* Whether the signatures in use are older than age_limit; and a warning each day that they are. */

#include <stdbool.h>

#include "report.h"
#include "settings.h"

struct age {
    gint64 warned;       /* Unix seconds; 0: never */
    char generation[64]; /* which */
};

/*
 * Warns where that is due. Never true of those whose age is not known, of the built-in ones alone
 * (which are warned of otherwise), nor while the clock is behind their time.
 */
bool age_is_over(struct age *age, const struct settings *settings, const struct report *report);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef COUNTERS_H
#define COUNTERS_H

/* What posternd has done since it started; for `postern status`. */

#include <glib.h>

struct counters {
    guint64 messages; /* transactions begun */
    guint64 clean;
    guint64 infected;
    guint64 unscanned;
    guint64 errors;
    guint64 accepted;
    guint64 quarantined;
    guint64 rejected; /* without a copy: the state was full */
    guint64 tempfailed;
    guint64 abandoned; /* the client went away before the reply */
    guint64 connections;
    guint64 refused; /* connections over the limit, messages over the budget */
};

#endif

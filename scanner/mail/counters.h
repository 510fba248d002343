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
    guint64 accepted; /* the actions, from here ... */
    guint64 tagged;
    guint64 replaced;
    guint64 discarded;
    guint64 quarantined;
    guint64 rejected;   /* without a copy: so set, or the state was full */
    guint64 tempfailed; /* ... to here: one of them for each message */
    guint64 end_to_end; /* encrypted for its recipient alone, whatever was done */
    guint64 emptied;    /* nothing would have remained after replacing */
    guint64 struck;     /* cost two workers */
    guint64 poisoned;   /* quarantined for that */
    guint64 abandoned;  /* the client went away before the reply */
    guint64 connections;
    guint64 refused; /* connections over the limit, messages over the budget */
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROBE_LOG_H
#define PROBE_LOG_H

/*
 * What became of numbered probe mails, attempt by attempt, and what that says: was mail refused,
 * for how long, was every verdict right. Pure; times are monotonic microseconds.
 */

#include <glib.h>

#include "smtp-probe.h"

struct probe_try {
    unsigned number; /* of the probe; several tries have the same */
    gboolean infected;
    gint64 begun;
    gint64 ended;
    enum probe_end end;
    int code;
    char *text; /* what was said, escaped; owned */
};

struct probe_log {
    GPtrArray *tries; /* of struct probe_try, in the order in which they ended */
    unsigned made;    /* probes so far, numbered from 0 */
    gboolean
        infected_taken; /* an infected message is answered with 250 here: discarded, replaced */
};

struct probe_log *probe_log_new(gboolean infected_taken);
void probe_log_free(struct probe_log *log);
/* Takes TRY, which is freed with the log. */
void probe_log_add(struct probe_log *log, struct probe_try *try);
void probe_try_free(struct probe_try *try);

/* Whether the scanner gave its verdict, and the right one. */
gboolean probe_try_is_good(const struct probe_log *log, const struct probe_try *try);
/* Whether there is nothing more to try: it is the server's, or was refused for good. */
gboolean probe_end_is_final(enum probe_end end);

/* How many tries that began at SINCE or later were good in a row, up to now. */
unsigned probe_log_good_since(const struct probe_log *log, gint64 since);

/* What happened to those that began in [FROM, UNTIL). */
struct probe_outage {
    unsigned tries;
    unsigned ends[PROBE_ENDS]; /* of those that were not good; the others are in GOOD */
    unsigned good;
    gint64 refused_at;  /* the first that was not good began then; 0 = all were good */
    gint64 accepted_at; /* the first good answer after the last that was not good had begun; 0 =
                           none */
};

void probe_log_outage(const struct probe_log *log, gint64 from, gint64 until,
                      struct probe_outage *outage_r);
/* From the first refused to the first accepted after the last refused, in seconds; -1: no end. */
double probe_outage_seconds(const struct probe_outage *outage);

/* The probes, each counted once, by what became of it in the end. */
struct probe_sums {
    unsigned clean;
    unsigned clean_accepted;
    unsigned clean_refused; /* a clean message got 5xx */
    unsigned infected;
    unsigned infected_refused; /* or taken, where that is the policy */
    unsigned infected_passed;  /* an infected message got 250 where 5xx is the policy */
    unsigned unwanted;         /* the address or the client was refused */
    unsigned open;             /* still with us */
    unsigned twice;            /* accepted after a try of which the end was not known */
};

void probe_log_sums(const struct probe_log *log, struct probe_sums *sums_r);

#endif

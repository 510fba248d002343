/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROBE_RUN_H
#define PROBE_RUN_H

/*
 * Numbered probe mails at a steady rate, each tried again until it has an answer for good, as a
 * mail server would. They are sent by a thread of their own, so that nothing else delays them.
 */

#include "probe-log.h"

struct probe_plan {
    struct sockaddr_storage server;
    const char *sender;
    const char *recipient;
    const char *run;         /* a word in every subject and Message-ID: these probes, no others */
    double rate;             /* new probes a second */
    unsigned infected_every; /* every so manieth has the test virus; 1 = all */
    gboolean infected_taken; /* see struct probe_log */
};

struct probe_run;

/* Begins. PLAN's texts are copied. Returns 0, or -errno with one sentence in *ERROR_R. */
int probe_run_start(const struct probe_plan *plan, struct probe_run **run_r, char **error_r);

/* How many tries that began at SINCE or later were good in a row, and ended. */
unsigned probe_run_good_since(struct probe_run *run, gint64 since);
/* Tries so far, and the last one that was not good (to be freed by g_free(); NULL = none). */
unsigned probe_run_tries(struct probe_run *run, char **last_bad_r);

/*
 * No new probes; the open ones go on for up to DRAIN_MS. Returns what happened, to be freed by
 * probe_log_free(); the run is gone.
 */
struct probe_log *probe_run_finish(struct probe_run *run, unsigned drain_ms);

/* The text of a probe, as smtp-probe.h wants it; g_free(). For tests. */
char *probe_run_text(const struct probe_plan *plan, unsigned number, gboolean infected);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRILL_H
#define DRILL_H

/* A drill as it runs: the machine's orders carried out, and what comes of them told as it comes. */

#include "drill-machine.h"
#include "drill-rule.h"
#include "model.h"
#include "probe-run.h"

struct drill_job {
    struct drill_plan plan;
    struct drill_rule rule;
    struct probe_plan probes;
    FILE *progress; /* NULL = nothing is told */
};

/* What is left for the report; drill_result_clear(). */
struct drill_result {
    struct drill_machine machine;
    struct probe_log *log;
    char *order_error; /* NULL */
    char *left;        /* NULL */
    char *last_bad;    /* what the last probe that was not served heard; NULL */
};

/*
 * Runs it whole: with a guard, with SIGINT, SIGTERM and SIGHUP as interruptions. Returns 0 and the
 * result, or -errno with one sentence in *ERROR_R when it could not begin; then nothing was
 * changed.
 */
int drill_run(const struct drill_job *job, struct drill_result *result_r, char **error_r);
void drill_result_clear(struct drill_result *result);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RUN_H
#define RUN_H

/* Runs postern-fetch for one source. */

#include <glib.h>
#include <jansson.h>

#include "bound.h"

struct run_task {
    const char *config; /* NULL: the usual */
    const char *source;
    guint64 seconds;
    const struct bound *bound;
};

/*
 * Runs it and waits, for its time at most and as long as it keeps its bound; then it is killed.
 * What it says is logged (debug). Returns 0 with its last word in *RESULT; or -ETIMEDOUT, -EFBIG,
 * or -EREMOTEIO (it died or gave up), with one sentence. On success *ERROR_R may be set too: the
 * last that libfreshclam complained of and that says why.
 */
int run_fetch(const struct run_task *task, json_t **result, char **error_r);

#endif

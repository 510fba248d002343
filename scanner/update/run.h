/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RUN_H
#define RUN_H

/* Runs postern-fetch for one source. */

#include <glib.h>
#include <jansson.h>

/* The program NAME beside this one. To be freed by g_free(). */
char *run_beside(const char *name);

/*
 * Runs it with the configuration CONFIG (NULL: the usual) and waits, SECONDS at most; then it is
 * killed. What it says is logged (debug). Returns 0 with its last word in *RESULT; or -ETIMEDOUT,
 * or -EREMOTEIO (it died or gave up), with one sentence. On success *ERROR_R may be set too: the
 * last that libfreshclam complained of and that says why.
 */
int run_fetch(const char *config, const char *source, guint64 seconds, json_t **result,
              char **error_r);

#endif

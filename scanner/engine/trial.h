/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRIAL_H
#define TRIAL_H

/*
 * Tries new signatures beside those that are in use, before anybody adopts them. The engine's side:
 * it notices that something may have come (update_dir, share_dir, signatures_dir, `postern
 * signatures`), has one process at a time look and try (trial-run.h), reports what came of it, and
 * calls adoption_consider() when a generation was tried, was rejected, could not be tried or waits.
 *
 * Verdicts are not disturbed: nothing is tried while the signatures in use are being loaded; the
 * process and all that it starts are as nice as can be, read from the disk last, and are the first
 * to be killed for memory. One that had to be tried a second time, for the clock ran out, is less
 * nice.
 */

#include <stdbool.h>
#include <jansson.h>

struct engine;
struct trial;

/* Looks soon, and then whenever something comes. Returns 0, or -errno with one sentence. */
int trial_new(struct engine *engine, struct trial **ret, char **error_r);
/* Ends a trial that runs; it does not count. NULL is fine. */
void trial_free(struct trial *trial);

/*
 * GENERATION (as store_find() takes it) is to be tried as soon as it can be. WHATEVER_MEMORY:
 * though there is no room for it beside what is loaded, because nothing is, or nobody needs it.
 * Returns 0, also when it is being tried already; -EBUSY with one sentence: another one is.
 */
int trial_request(struct trial *trial, const char *generation, bool whatever_memory,
                  char **error_r);
/* Nobody waits for one with WHATEVER_MEMORY any more: it is not begun, or killed. Where the memory
 * is used again it would be a second set in it. */
void trial_withdraw(struct trial *trial);

/* Something may have come, or may be taken now: looks soon. */
void trial_consider(struct trial *trial);

/* Whether a process tries something now: it may hold as much memory as what is in use. */
bool trial_runs(const struct trial *trial);
/* The generation that is not tried because there is no memory for it; NULL: none. */
const char *trial_waits_for_memory(const struct trial *trial);

/*
 * A new reference: {"state":"idle", "waiting", "held" or a stage of trial-run.h, "generation":s or
 * null, "since":t, "done":n, "total":n, "reason":s or null (why it waits), "last":null or
 * {"generation":s,"outcome":s,"reason":s or null,"time":t,"measured":{...}}}.
 */
json_t *trial_to_json(const struct trial *trial);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

/*
 * Keeps one zygote alive: starts it on the current generation, hears what it reports, starts it
 * again when it ends. After SUPERVISOR_PATIENCE ends in a row without a load it is "failed", and
 * tried once a minute.
 */

#include <stdbool.h>
#include <stdint.h>

#define SUPERVISOR_PATIENCE 5

struct engine;
struct supervisor;

/* Returns NULL and a sentence when the zygote's program cannot be found. */
struct supervisor *supervisor_new(struct engine *engine, char **error_r);
void supervisor_free(struct supervisor *supervisor);

/* Starts the first zygote; failures are retried, so there is nothing to return. */
void supervisor_start(struct supervisor *supervisor);
/* Kills the zygote and with it all workers; the event loop ends when it is gone. */
void supervisor_stop(struct supervisor *supervisor);
/* Kills the zygote because it misbehaves (WHY, for the log); a new one is started. */
void supervisor_replace(struct supervisor *supervisor, const char *why);

/* The zygote has loaded and forks workers. */
bool supervisor_loaded(const struct supervisor *supervisor);
bool supervisor_failed(const struct supervisor *supervisor);

/* Asks for a worker with CHANNEL (borrowed). Returns 0 or -errno. */
int supervisor_fork(struct supervisor *supervisor, uint64_t number, unsigned slot, int channel);

#endif

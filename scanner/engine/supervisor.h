/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

/*
 * Keeps the zygote alive whose workers scan mail: starts it on the current generation, starts it
 * again when it ends. After SUPERVISOR_PATIENCE ends in a row without a load, or one that says that
 * the generation cannot be loaded, it is "failed", and tried once a minute. Then adoption.h looks
 * for another generation.
 */

#include <stdbool.h>

#include "nursery.h"

#define SUPERVISOR_PATIENCE 5

struct engine;
struct generation_about;
struct supervisor;

/* Returns NULL and a sentence when the zygote's program cannot be found. */
struct supervisor *supervisor_new(struct engine *engine, char **error_r);
void supervisor_free(struct supervisor *supervisor);

/* Starts a zygote; failures are retried, so there is nothing to return. */
void supervisor_start(struct supervisor *supervisor);

/* The zygote has loaded and forks workers. */
bool supervisor_loaded(const struct supervisor *supervisor);
bool supervisor_failed(const struct supervisor *supervisor);
/* Why the last one ended, as far as that says something about its generation. */
enum nursery_fault supervisor_fault(const struct supervisor *supervisor);
/* The one that serves, or loads in order to; NULL: there is none. Borrowed. */
struct nursery *supervisor_nursery(const struct supervisor *supervisor);

/*
 * NEXT, which has loaded signatures of which ABOUT is known, serves from now on. Returns the one
 * that did before, for the caller to end; NULL: there was none.
 */
struct nursery *supervisor_take(struct supervisor *supervisor, struct nursery *next,
                                const struct generation_about *about);

/* From now on none is started, until supervisor_start() or supervisor_take(): when the one that
 * serves has ended, adoption_room_made(). */
void supervisor_expect_room(struct supervisor *supervisor);
/* Ends it. */
void supervisor_make_room(struct supervisor *supervisor);

#endif

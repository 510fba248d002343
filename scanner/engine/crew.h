/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CREW_H
#define CREW_H

/*
 * The workers: one per slot, forked as soon as a zygote has loaded and again whenever one ends.
 * A worker counts once it has said {"ready":true}; it is then a spare, until a client that is
 * attached takes it. One that is not ready within CREW_READY_USEC is killed. When workers of a
 * slot die before they are of use, the next comes after a pause, from 0.1 to 10 seconds. So it
 * does after more than CREW_CRASHES_FREE in a row that crashed within CREW_QUICK_USEC of being
 * handed out: single bad mails cost milliseconds, a flood of them does not take the processors
 * from all else.
 */

#include <stdint.h>

#define CREW_READY_USEC (30 * 1000 * 1000ULL)
#define CREW_QUICK_USEC (1000 * 1000LL)
#define CREW_CRASHES_FREE 8

struct crew;
struct engine;
struct nursery;
struct settings;

/* Slots in all: one more than workers, so that a new one can be ready before an old one goes; one
 * for self tests, and one for evidence.h. The last of ZYGOTE_SLOTS_MAX is never among them: it is
 * the trial's. */
unsigned crew_slots(const struct settings *settings);
unsigned crew_evidence_slot(const struct crew *crew);

struct crew *crew_new(struct engine *engine);
void crew_free(struct crew *crew);

/* NURSERY (borrowed until crew_lost()) has loaded: it forks the workers from now on. */
void crew_start(struct crew *crew, struct nursery *nursery);
/* NURSERY is gone, and all its workers with it. */
void crew_lost(struct crew *crew, const struct nursery *nursery);

/*
 * Forks one worker of NEXT, which gets no mail: adoption_proved() when it is ready,
 * adoption_disproved() when it ends before. Returns 0, or -errno.
 */
int crew_prove(struct crew *crew, struct nursery *next);
/*
 * The proved one forks the workers from now on. Those of before go one by one, each as soon as
 * another is ready in its place: who is attached lets them go when they are idle.
 */
void crew_switch(struct crew *crew);
/* Nobody forks any more: those that are there go as soon as they are idle. */
void crew_dismiss(struct crew *crew);
/* Workers of NURSERY that are alive. */
unsigned crew_left(const struct crew *crew, const struct nursery *nursery);
/* The zygote's reports; PIDFD is borrowed. Of a number that is unknown they are ignored. */
void crew_forked(struct crew *crew, uint64_t number, int pidfd);
void crew_exited(struct crew *crew, uint64_t number, int status);

/* Hands all spares to the attached client. */
void crew_hand_out(struct crew *crew);
/* The attached client is gone: kills the workers that it had. */
void crew_take_back(struct crew *crew);
/* Kills a worker that was handed out. Returns 0 or -ENOENT. */
int crew_kill(struct crew *crew, uint64_t number);
/* Forks one more worker; clients_selftest_done() gets the outcome. Joins a test that runs.
 * Returns 0 or -errno, -EHOSTDOWN while nothing is loaded. */
int crew_selftest(struct crew *crew);

unsigned crew_alive(const struct crew *crew);
unsigned crew_ready(const struct crew *crew);
/* What the last worker that did not get ready complained of, NULL = nothing since one did. */
const char *crew_error(const struct crew *crew);

#endif

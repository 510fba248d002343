/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef EVIDENCE_H
#define EVIDENCE_H

/*
 * Whether new signatures are to blame for a mail that has cost posternd two workers. It is given to
 * a fresh worker of the generation that serves, and when that crashes, too, to one of the
 * generation before, in a zygote of its own. When that one scans it to the end, it is given to the
 * accused once more, in a fresh zygote: all workers of a zygote have one layout of memory, and what
 * crashes there may do so by chance, which proves nothing. Only when it crashes again the engine
 * goes back, and rejects the accused.
 *
 * A mail that crashes both proves nothing: three crafted ones would switch every new set of
 * signatures off. Nor does a worker that was killed (with its zygote, or at a limit of memory),
 * that crashed after a failed call (WORKER_EXIT_VOID), or ran out of time, which depends on what
 * else the node does. What it costs is bounded: one mail at a time; something is loaded for it at
 * most every EVIDENCE_PAUSE_S, twice as long after each time in vain, so that nobody can try his
 * luck for days; and only while there is memory for it; only for EVIDENCE_DAYS after an adoption;
 * never past a pinned generation.
 */

#include <stdbool.h>
#include <stdint.h>

#define EVIDENCE_PAUSE_S 600
#define EVIDENCE_DAYS 3

struct engine;
struct evidence;
struct nursery;

struct evidence *evidence_new(struct engine *engine);
void evidence_free(struct evidence *evidence);

/* A mail, sealed memory (FD is borrowed); left alone while another one is looked at. */
void evidence_take(struct evidence *evidence, int fd);
/* One of the two is loaded, or is just ending: memory for a third one is not to be taken. */
bool evidence_is_busy(const struct evidence *evidence);

/* What a zygote reports of its worker NUMBER; false: it is none of these. PIDFD is borrowed. */
bool evidence_forked(struct evidence *evidence, uint64_t number, int pidfd);
bool evidence_exited(struct evidence *evidence, uint64_t number, int status);
/* The zygote that served is gone, and all its workers. */
void evidence_lost(struct evidence *evidence, const struct nursery *nursery);

#endif

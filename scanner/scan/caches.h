/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CACHES_H
#define CACHES_H

/*
 * The pool's memory: verdicts of whole messages and clean parts, all of one era. An era ends when
 * signatures, engine or options change; then both are empty, and what a worker of before still
 * says is not kept.
 */

#include "part-cache.h"
#include "part-talk.h"
#include "settings.h"
#include "verdict-cache.h"

struct caches {
    struct verdict_cache *verdicts;
    struct part_cache *parts;
    char *era; /* NULL = no engine */
};

/* A worker, as the caches know it. */
struct voice {
    gint64 worker;
    char *era; /* when it was made: what it says is true of no other */
    struct part_talk talk;
};

void caches_init(struct caches *caches, const struct settings *settings);
void caches_clear(struct caches *caches);

/*
 * What the engine says of itself; NULL = it is gone. The era is the generation of the signatures
 * and the zygote that loaded them: a new one may be of another version or have other limits.
 */
void caches_engine_changed(struct caches *caches, json_t *state);

/* A question about a part (part-talk.h). NULL: it asks what it may not. */
json_t *caches_answer(struct caches *caches, struct voice *voice, json_t *question);
/* The end of a scan: what it says goes in if it is of this era. KEY: of the message, or NULL. */
void caches_remember(struct caches *caches, const struct voice *voice, const guint8 *key,
                     const struct facts *facts, json_t *report);
/* A worker ended otherwise than it should: nothing that it said is believed any longer. */
void caches_distrust(struct caches *caches, gint64 worker);

#endif

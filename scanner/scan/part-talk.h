/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PART_TALK_H
#define PART_TALK_H

/*
 * What one worker may say about parts during one scan: it asks whether a part is known, and reports
 * at the end, if the whole message was clean, those that were not. Never more than it asked for.
 */

#include "facts.h"
#include "part-cache.h"

struct part_talk {
    guint asked;
    guint8 unknown[PART_CACHE_ASKS_MAX][LRU_KEY]; /* asked for, and not known */
    guint n_unknown;
};

/* A new scan. */
void part_talk_begin(struct part_talk *talk);
/*
 * The answer to {"op":"known","key":s}, a new reference: {"known":false}, or
 * {"known":true,"facts":{...}}. NULL when the worker asks what it may not.
 */
json_t *part_talk_answer(struct part_talk *talk, struct part_cache *cache, json_t *question,
                         gint64 now_us);
/*
 * The scan has ended: REPORT, {KEY: facts, ...} or NULL, is taken in when FACTS say that the
 * message is clean and nothing else. What was not asked for or is not understood is left out.
 */
void part_talk_report(const struct part_talk *talk, struct part_cache *cache, gint64 worker,
                      const struct facts *facts, json_t *report, gint64 now_us);

#endif

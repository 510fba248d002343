/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HEALTH_H
#define HEALTH_H

/*
 * How well a node and its service do, in a fixed vocabulary: so that root's postern-notify has
 * nothing to interpret, and the command line has a sentence for each word.
 *
 * Two processes judge, each only what it can know, and neither is believed beyond that. The engine
 * (on every node) judges what is the node's own: memory, the file systems of its own, the clock,
 * its signatures.
 * Only such a cause can be red, since only then does it help to go elsewhere. posternd (where it
 * serves) judges what would come along: the shared storage, the way to the mail server, overload.
 *
 * As text it is one word, "green" or "CAUSE=LEVEL,...": "storage-full=red,clock-unset=yellow".
 */

#include <stdbool.h>
#include <jansson.h>

enum health_level {
    HEALTH_GREEN,
    HEALTH_YELLOW,
    HEALTH_RED,
};

enum health_cause {
    HEALTH_MEMORY_PRESSURE,
    HEALTH_MEMORY_SHORT,
    HEALTH_STORAGE_FULL,
    HEALTH_STORAGE_READONLY,
    HEALTH_STORAGE_ERROR,
    HEALTH_CLOCK_JUMPS,
    HEALTH_CLOCK_UNSET,
    HEALTH_SIGNATURES_OLD,
    HEALTH_SIGNATURES_WAIT,
    HEALTH_SIGNATURES_MOVE,
    HEALTH_STATE_FULL,
    HEALTH_STATE_SLOW,
    HEALTH_STATE_ERROR,
    HEALTH_MTA_PATH,
    HEALTH_BUSY_WORKERS,
    HEALTH_BUSY_MEMORY,
    HEALTH_CAUSES,
};

enum health_source {
    HEALTH_OF_NODE,    /* told by the engine */
    HEALTH_OF_SERVICE, /* told by posternd */
};

struct health {
    enum health_level level[HEALTH_CAUSES];
};

/* The worst of all causes. */
enum health_level health_worst(const struct health *health);
/* "green", "yellow", "red": the values of Pacemaker's #health attributes. */
const char *health_level_name(enum health_level level);

/* The worst that CAUSE may be. */
enum health_level health_cause_cap(enum health_cause cause);
/* "storage-full". */
const char *health_cause_name(enum health_cause cause);
/* Half a sentence for people, and what they can do. */
const char *health_cause_text(enum health_cause cause);
const char *health_cause_todo(enum health_cause cause);
/* Overload is the day's business: shown, but nothing that the cluster is told. */
bool health_cause_is_told(enum health_cause cause);

/* Each cause as the worse of the two. */
void health_merge(struct health *into, const struct health *other);
/* What the cluster is told of it. */
void health_drop_untold(struct health *health);

/* The word. LONGEST bytes suffice with the final 0. To be freed with g_free(). */
#define HEALTH_WORD_MAX 384
char *health_format(const struct health *health);

/*
 * Reads WORD, which SOURCE has written. Returns 0, or -EBADMSG with *RET all green: a cause that
 * SOURCE knows nothing of, one named twice, a level above its cap, any other byte.
 */
int health_parse(const char *word, enum health_source source, struct health *ret);

/* {"level":s,"causes":[{"cause":s,"level":s,"text":s}]}; a new reference. */
json_t *health_to_json(const struct health *health);

#endif

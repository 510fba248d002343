/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KNOWN_H
#define KNOWN_H

/*
 * Attachments that need no scan, because two other workers have found the same bytes clean in the
 * same place (docs/DECISIONS/0008-caches.md). posternd keeps the list; this file asks it, hands the
 * facts about what is inside on, and tells at the end what was scanned here.
 *
 * Asked for are layers of KNOWN_SIZE_MIN and more, not mails themselves, that stand in mails only:
 * what a signature may ask of the layers around one is then always the same, its depth, and that is
 * part of the key.
 *
 * One per process, as libclamav's messages have no owner either.
 */

#include <stdbool.h>
#include <jansson.h>

#include "clam.h"
#include "facts.h"
#include "leaves.h"

/* Asking costs about 0.1 ms; libclamav takes that for 1 KB. Below, a scan costs little as well. */
#define KNOWN_SIZE_MIN (8U << 10)
/* scan/part-cache.h: whoever asks more is taken for a liar. */
#define KNOWN_ASKS_MAX 64

/* Returns the facts about what is inside (for facts_free()), or NULL: KEY is not known. */
typedef struct facts *known_ask(void *data, const char *key);

/* From now on scans ask; ASK NULL: they do not. */
void known_set(known_ask *ask, void *data);

/* A scan begins; FACTS (borrowed) until known_end(). */
void known_begin(struct facts *facts);
/*
 * libclamav enters a layer; LEAF is the MIME part that it is, NULL = none; WHOLE: byte for byte. To
 * be called for every layer. Returns true when it is known: what is inside is in the facts, and it
 * need not be scanned.
 */
bool known_enter(const struct clam_layer *layer, const struct mime_leaf *leaf, bool whole);
/*
 * The scan has ended. A new reference: what was asked for, not known, and scanned, with what is
 * inside: {KEY: facts, ...}; NULL when there is nothing.
 */
json_t *known_end(void);

#endif

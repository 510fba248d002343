/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STRIKES_H
#define STRIKES_H

/*
 * Poison mail: messages that cost two workers in a row, and how often. A strike is durable on the
 * state's storage before the sender hears 451, so it outlives a crash and a failover; with
 * SETTINGS->poison_strikes of them the message is not scanned any more but kept and refused.
 *
 * A message is known by its body and by those header fields that a retry leaves as they were:
 * by the body alone, three forged mails with the text of a newsletter would have the real one
 * refused. Strikes are forgotten SETTINGS->poison_age after the last.
 *
 * What the table holds is in memory too, so that clean mail asks no disk. Event loop only.
 */

#include <glib.h>

#include "settings.h"
#include "storage.h"

/* More are forgotten, the oldest first. */
#define STRIKES_MAX 10000

struct strikes;

/* Reads what is there in the background; SETTINGS and STORAGE outlive it. */
struct strikes *strikes_new(const struct settings *settings, struct storage *storage);
/* After storage_free(): no job is under way. NULL is fine. */
void strikes_free(struct strikes *strikes);

/* How many the message has, 0 = none; BODY_HASH and FD (a memfd) are its spool's. */
guint64 strikes_count(const struct strikes *strikes, const char *body_hash, int fd);
/* Of them enough: it is not to be scanned any more. */
gboolean strikes_are_enough(const struct strikes *strikes, guint64 count);

/*
 * Adds one. DONE is called from the event loop: RESULT 0 and how many there are now, or -errno:
 * then it is not durable.
 */
typedef void strikes_done(void *data, int result, guint64 count);
void strikes_add(struct strikes *strikes, const char *body_hash, int fd, strikes_done *done,
                 void *data);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SPOOL_H
#define SPOOL_H

/*
 * One message in memory (a memfd), growing while it is received, sealed before anybody reads it:
 * what was scanned is what is kept. All spools together, and what else is held for messages, stay
 * below a budget; whoever exceeds it is refused with -ENOBUFS, which the sender hears as 451.
 */

#include <glib.h>

struct spool_budget {
    guint64 limit; /* bytes, all spools together */
    guint64 used;
};

/* So much is free. */
gboolean spool_budget_has(const struct spool_budget *budget, guint64 bytes);
/* Takes BYTES. FALSE when so much is not there; nothing is taken then. */
gboolean spool_budget_take(struct spool_budget *budget, guint64 bytes);
void spool_budget_give(struct spool_budget *budget, guint64 bytes);

struct spool;

/* Returns a new empty spool that takes from BUDGET (which outlives it), or NULL with errno set. */
struct spool *spool_new(struct spool_budget *budget, guint64 size_limit);
void spool_free(struct spool *spool);
typedef struct spool spool_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(spool_t, spool_free)

/*
 * Takes BYTES from the budget in advance; what is appended is then taken from there first. What is
 * left of it goes back at spool_seal(). Returns 0 or -ENOBUFS; the spool stays good.
 */
int spool_reserve(struct spool *spool, guint64 bytes);
/*
 * Takes BYTES for what belongs to the message and is not in the spool, until spool_free(). Returns
 * 0 or -ENOBUFS; the spool stays good.
 */
int spool_hold(struct spool *spool, guint64 bytes);

/*
 * Appends. Returns 0, -ENOBUFS (budget exhausted), -EFBIG (over the size limit), or -errno.
 * After an error the spool is void: only spool_free() may follow.
 */
int spool_append(struct spool *spool, const void *data, gsize len);

/* Marks that the header ends here and the body begins (once, before the body is appended). */
void spool_body_begins(struct spool *spool);

/* Seals the memory against any change. Returns 0 or -errno. */
int spool_seal(struct spool *spool);

guint64 spool_size(const struct spool *spool);
/* The sealed memfd, borrowed. */
int spool_fd(const struct spool *spool);
/* Where the body begins, in bytes; its end when that was never said. */
guint64 spool_body_from(const struct spool *spool);
/* SHA-256 over the body (all after the header's empty line), hexadecimal; valid once sealed. */
const char *spool_body_hash(const struct spool *spool);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REPLACE_H
#define REPLACE_H

/*
 * A message without the parts at fault: each becomes a text that says what was taken away. The
 * worker has named where the parts stand; it parsed hostile bytes and is not believed: a place
 * must begin a line after a delimiter, look like an entity's header and end before a delimiter.
 * Nothing is parsed here beyond that, and what comes of it is scanned again, by another worker.
 *
 * What is signed, what lies in something encrypted, and what is not clearly mapped is not cut.
 */

#include "facts.h"
#include "spool.h"

struct replace_job {
    const struct spool *original; /* sealed */
    const struct facts *facts;    /* of that */
    unsigned situations;          /* bit i: what situation i is about is cut (policy.h) */
    const char *key;              /* under which the original will be kept */
    struct spool_budget *budget;
    guint64 size_limit;
};

/*
 * Returns 0 with the new message, sealed, its header the old one; -ENODATA: nothing of substance
 * would remain; -EBADMSG with *WHY_R (static): it cannot be cut; -ENOBUFS: no memory now, -EFBIG:
 * it would grow over SIZE_LIMIT; another -errno.
 */
int replace_make(const struct replace_job *job, struct spool **ret_new, const char **why_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef QUARANTINE_H
#define QUARANTINE_H

/*
 * Kept messages. One file each: quarantine/KEY.eml, mode 0600, whose first line is
 *
 *     X-Postern-Quarantine: {JSON: version, key, time, verdict, reason, size, envelope, facts}
 *
 * and whose rest is the original message byte for byte; so it is readable by any mail program and
 * by `tail -n +2`. KEY is the SHA-256 over the body's hash, the sender and the sorted recipients:
 * a sender's retry (new queue id, new headers) is the same key and adds an attempt, not a copy.
 *
 * All functions run in the storage thread.
 */

#include "envelope.h"
#include "facts.h"
#include "listing.h"
#include "policy.h"
#include "state.h"

/* The key, hexadecimal; freed with g_free(). */
char *quarantine_key(const struct envelope *envelope, const char *body_hash);

struct quarantine_entry {
    const struct envelope *envelope;
    const struct facts *facts;
    const struct decision *decision;
    const char *body_hash;
    int fd; /* sealed memfd of the message */
};

/*
 * Keeps a message: file (fsync, rename, fsync of the directory), then the row (commit); 0 means
 * that both are durable. A message that is kept already gets an attempt, also when the state is
 * full. -ENOSPC (the disk, the low-water mark, quarantine_size) or -EDQUOT (the quota of its
 * origin): nothing of it stays; -EIO: final; -ESTALE: another process owns the state; other
 * -errno.
 */
int quarantine_store(struct state *state, const struct quarantine_entry *entry);

/* A step of the list, as listing_step(). */
int quarantine_list(struct state *state, const struct listing_filter *filter, gint64 before,
                    int limit, json_t **ret_rows, gint64 *ret_next);

/* What is kept: {"entries", "bytes", "limit" (quarantine_size)}. Returns 0 or -errno. */
int quarantine_usage(struct state *state, json_t **ret_usage);

/*
 * One entry by its key or an unambiguous beginning of it: the JSON of the file's first line plus
 * "attempts", and what is known of its release ("state", "released", "release_attempts",
 * "release_to", "release_answer"). With RET_FD (NULL: not wanted) the open file too, at its start.
 * That user UID was given it is on record when this returns 0. Returns 0, -ENOENT, -ENOTUNIQ,
 * -ENODATA (the file is gone), -EBADMSG (the file is not one of ours), -ENOSPC (the record cannot
 * be written), or another -errno.
 */
int quarantine_show(struct state *state, const char *key, gint64 uid, json_t **ret_meta,
                    int *ret_fd);

#endif

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
 * full. -ENOSPC or -EDQUOT: full (also below the low-water mark), and nothing of it stays; -EIO:
 * final; -ESTALE: another process owns the state; other -errno.
 */
int quarantine_store(struct state *state, const struct quarantine_entry *entry);

/*
 * Up to LIMIT rows as a JSON array, newest first, older than the row BEFORE (0 = from the newest):
 * {"row","key","time","verdict","reason","queue_id","sender","recipients","recipient_count",
 *  "subject","size","client","attempts","missing"}. Long texts are cut and recipients are the first
 * 50 (catalog.h); "missing" means that the file is gone. Returns 0 or -errno.
 */
int quarantine_list(struct state *state, gint64 before, int limit, json_t **ret_rows);

/*
 * One entry by its key or an unambiguous beginning of it: the JSON of the file's first line plus
 * "attempts", and the open file (for reading, positioned at its start) in *RET_FD. Returns 0,
 * -ENOENT, -ENOTUNIQ, -ENODATA (the file is gone), -EBADMSG (the file is not one of ours), or
 * another -errno.
 */
int quarantine_show(struct state *state, const char *key, json_t **ret_meta, int *ret_fd);

#endif

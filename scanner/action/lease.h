/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LEASE_H
#define LEASE_H

/*
 * state_dir/lease: who owns the state. While a process has it, it holds an OFD lock on the file,
 * which the kernel drops with the process. The text says who that is, for people and for the next
 * owner; it is one record of LEASE_SIZE bytes, a JSON object padded with spaces, written in place
 * (a rename would leave the lock on the old inode) with one write and fsync.
 *
 * Nothing beats, and the lease decides nothing: on a file system that one node mounts, fencing
 * guards the state, and the lock catches a second process on the same node; so there nothing waits
 * either. On one that several nodes mount the lock reaches them all, but the server keeps that of a
 * node that was fenced for as long as its own lease runs (NFSv4: 90 s with Linux, RFC 7530 9.5): so
 * there the new owner waits for the old one's lock, and is refused when it does not end.
 */

#include <glib.h>

#define LEASE_SIZE 512

struct lease;

/* Longer than a server of NFSv4 keeps the lock of a dead client, and gives its others to claim. */
#define LEASE_WAIT_S 150U
/* How often somebody who waits tries; also the longest time that a SIGTERM has to wait. */
#define LEASE_TRY_MS 200U

/*
 * Locks DIRFD/lease, which is made when it is absent. DIR is its name for messages. When somebody
 * else has the lock it tries for WAIT_S seconds more, and calls WAITING (NULL = nobody) with the
 * sentence that an end now would have, about once a second; a SIGTERM that is pending ends the
 * wait. Returns 0, or -errno with one sentence in *ERROR_R: -EBUSY names the owner as the lease
 * tells it.
 */
typedef void lease_waiting(const char *sentence);
int lease_acquire(int dirfd, const char *dir, unsigned wait_s, lease_waiting *waiting,
                  struct lease **ret_lease, char **error_r);

/* What the previous owner left: its epoch (0 = none known), and whether it closed the state. */
guint64 lease_found_epoch(const struct lease *lease);
gboolean lease_found_clean(const struct lease *lease);
/* The previous owner for people: "node n1, process 123"; borrowed. */
const char *lease_found_owner(const struct lease *lease);

/* Writes this process as the owner, durably. Returns 0 or -errno. */
int lease_write(struct lease *lease, guint64 epoch, gboolean clean);

/*
 * Reads the file again by its name: 0 when it is still what lease_write() wrote, -ESTALE when
 * somebody else has written or replaced it; other -errno.
 */
int lease_check(const struct lease *lease);

/* Drops the lock; writes nothing. NULL is fine. */
void lease_free(struct lease *lease);

#endif

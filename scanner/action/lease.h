/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LEASE_H
#define LEASE_H

/*
 * state_dir/lease: who owns the state. While a process has it, it holds an OFD lock on the file,
 * which the kernel drops with the process. The text says who that is, for people and for the next
 * owner; it is one record of LEASE_SIZE bytes, a JSON object padded with spaces, written in place
 * (a rename would leave the lock on the old inode) with one write and fsync.
 *
 * Nothing waits here and nothing beats: on a file system that one node mounts, fencing guards the
 * state; the lock catches a second process on the same node.
 */

#include <glib.h>

#define LEASE_SIZE 512

struct lease;

/*
 * Locks DIRFD/lease, which is made when it is absent. DIR is its name for messages. Returns 0, or
 * -errno with one sentence in *ERROR_R: -EBUSY names the owner as the lease tells it.
 */
int lease_acquire(int dirfd, const char *dir, struct lease **ret_lease, char **error_r);

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

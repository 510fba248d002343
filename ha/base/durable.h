/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DURABLE_H
#define DURABLE_H

/*
 * Files that survive a power cut. The order is: temporary file in the same directory, write,
 * fsync(file), rename, fsync(directory); only then does a call return 0. Temporary names begin
 * with DURABLE_TMP_PREFIX, so that a start after a crash can tell and remove them. They have their
 * mode from the beginning, whatever the umask is.
 *
 * A failed fsync is final (the kernel drops the dirty pages, the next fsync lies): the file is
 * removed and the error returned; whoever holds the promise must not try the same file again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define DURABLE_TMP_PREFIX ".tmp-"

/*
 * Writes the pieces of IOV as DIRFD/NAME with MODE, replacing an older file. NAME has no slash.
 * Returns 0, or -errno with nothing at NAME changed.
 */
int durable_write(int dirfd, const char *name, const struct iovec *iov, int iovcnt, unsigned mode);

/*
 * The same in two steps, for a file too large for memory: write to FILE->fd between begin and
 * commit; it can be read again, too. Each begin is followed by exactly one commit or abort.
 */
struct durable_file {
    int dirfd;    /* borrowed, open until commit or abort */
    int fd;       /* owned */
    char tmp[48]; /* temporary name */
};

/* Opens a temporary file with MODE in DIRFD. Returns 0 or -errno. */
int durable_begin(struct durable_file *file, int dirfd, unsigned mode);
/* Puts the file at NAME. Returns as durable_write(); the temporary file is gone in any case. */
int durable_commit(struct durable_file *file, const char *name);
void durable_abort(struct durable_file *file);

/* mkdir that is on the disk when it returns. Returns 0 (also when it was there), or -errno. */
int durable_mkdir(int dirfd, const char *name, unsigned mode);

/*
 * Not durable, but atomic: a reader sees the old or the new text of PATH, never a half one
 * (for state in /run). Returns 0 or -errno.
 */
int durable_replace_text(const char *path, const char *text, unsigned mode);

/*
 * The same on a full file system too, where the file is there already: then it is written over,
 * and a reader may see a half one, until the next change. Returns 0 or -errno.
 */
int durable_keep_text(const char *path, const char *text, unsigned mode);

/* Writes all of BUF, going on after short writes and EINTR. Returns 0 or -errno. */
int durable_write_all(int fd, const void *buf, size_t len);

/* Makes PATH for its owner alone; what is missing above it can be read by all, since others have
 * their folders there, too. One that is there stays as it is. Returns 0 or -errno. */
int durable_private_dir(const char *path);
/* The same for a folder that all can read. Neither minds the umask: an administrator's may shut
 * Postern's own users out. */
int durable_public_dir(const char *path);

#endif

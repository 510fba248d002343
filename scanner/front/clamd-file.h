/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_FILE_H
#define CLAMD_FILE_H

/*
 * Files that clamd's clients name or pass. All of these calls may block and are made in threads
 * (offload.h).
 *
 * A named path is reached only from one of the configured directories, by openat2() with
 * RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS: neither "..", nor a link, nor a rename in between leads
 * out. What a name stands for is opened first as O_PATH, and read only when it is a regular file,
 * so no device and no FIFO is ever opened.
 */

#include <glib.h>

/* Deepest directory below the one that was named (clamd's MaxDirectoryRecursion). */
#define CLAMD_WALK_DEPTH 15U

/*
 * Copies what FD (a regular file) holds from its beginning into sealed memory. SIZE is what
 * clamd_file_size() said. Returns the memory's descriptor, -EUCLEAN when the file changed its size
 * meanwhile, or -errno.
 */
int clamd_file_copy(int fd, guint64 size);

/* Returns 0 and the size, -ENOTSUP when FD is no regular file, or -errno. */
int clamd_file_size(int fd, guint64 *ret_size);

/* A walk through the file or directory that a client named. */
struct clamd_walk;

/*
 * PATH must be absolute and below one of ROOTS (else a walk whose first entry says so). Nothing is
 * opened yet.
 */
struct clamd_walk *clamd_walk_new(char **roots, const char *path);
void clamd_walk_free(struct clamd_walk *walk);

enum clamd_entry_kind {
    CLAMD_ENTRY_END,
    CLAMD_ENTRY_FILE,  /* a regular file, not empty: FD and SIZE */
    CLAMD_ENTRY_ERROR, /* something that could not be looked at: ERROR */
};

struct clamd_entry {
    enum clamd_entry_kind kind;
    char *path; /* as the client would name it; owned by the caller */
    int fd;     /* open for reading, owned by the caller; else -1 */
    guint64 size;
    const char *error; /* static */
};

/*
 * The next file. Links, devices, sockets, FIFOs and empty files below a named directory are passed
 * over; directories deeper than CLAMD_WALK_DEPTH are errors. An entry counts as FILE at most once.
 */
void clamd_walk_next(struct clamd_walk *walk, struct clamd_entry *ret);
/* Frees what ENTRY holds. */
void clamd_entry_clear(struct clamd_entry *entry);

#endif

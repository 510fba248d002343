/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FAULTGUARD_H
#define FAULTGUARD_H

/*
 * Notices what libclamav swallows. libclamav calls a file clean when it could not make its
 * temporary directory, open or write a temporary file or get memory. This file interposes the
 * libc functions by which that happens (the program's symbols come before the library's) and
 * remembers their failures; a scan during which there was one is void.
 *
 * Counted are failures for want of room, descriptors, memory or rights (ENOSPC EDQUOT EMFILE
 * ENFILE EIO EACCES EPERM EROFS ENOMEM EFBIG), and of mkdir() any: libclamav chooses those names
 * itself, so even EEXIST is a collision. With sanitizers the allocator is not watched.
 *
 * What has no memory may also crash: GLib and Rust give up by themselves, and libclamav may go on
 * with NULL. Such an end says nothing about the message, so it is told from others by its status.
 *
 * Single-threaded, as the workers are. Allocates nothing.
 */

#include <stdbool.h>
#include <stddef.h>

struct faultguard_fault {
    const char *call; /* "mkdir", static */
    int error;        /* errno */
};

/* Forgets what was and starts to watch. */
void faultguard_start(void);
void faultguard_stop(void);

/* True when anything failed since the start. */
bool faultguard_tripped(void);

/*
 * From now on a crash (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, or a call of abort()) during a
 * scan in which something failed ends this process with exit STATUS; any other crash does as it
 * did. Not with sanitizers, which want to hear of crashes themselves.
 */
void faultguard_crash_with(int status);

/* The distinct faults since the start, at most MAX; returns their number. */
size_t faultguard_faults(struct faultguard_fault *ret_faults, size_t max);

#endif

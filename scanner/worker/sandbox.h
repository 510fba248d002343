/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SANDBOX_H
#define SANDBOX_H

/*
 * What a worker gives up before it sees a message. Prepared once in the zygote, entered in each
 * worker in one fixed order. There is no fall-back inside: a step that fails ends the worker.
 * Only landlock may be missing from the kernel; the zygote says so, aloud.
 */

#include <stdbool.h>
#include <glib.h>

struct sandbox;

/*
 * Compiles the system call filter and asks the kernel for its landlock. Returns 0 and a sandbox
 * that lives as long as the process, or -errno with a sentence.
 */
int sandbox_new(struct sandbox **ret_sandbox, char **error_r);

/* Version of the kernel's landlock, 0 = it has none. */
int sandbox_landlock(const struct sandbox *sandbox);

struct sandbox_worker {
    unsigned uid;     /* user and group of this user namespace */
    bool one_user;    /* there is no other user: stay what we are */
    int tmpdir;       /* from tmpdir_new(): becomes the current directory */
    int proc;         /* the old /proc, see jail.h */
    guint64 tmp_size; /* bytes: no file may be larger */
    guint64 memory;   /* bytes of address space beyond what the zygote has */
};

/*
 * Enters the sandbox: limits, user, no capabilities, current directory, death with the parent,
 * no_new_privs, landlock, seccomp. Returns NULL, or the name of the step that failed, with errno:
 * then the process must end at once.
 */
const char *sandbox_enter(const struct sandbox *sandbox, const struct sandbox_worker *worker);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef JAIL_H
#define JAIL_H

/*
 * The zygote's root: a tmpfs of its own with read-only views of /usr, the few files that libc
 * and OpenSSL want, and the signatures. Nothing of the rest of the machine has a name in there.
 * Needs all capabilities over the process's user and mount namespaces.
 */

#define JAIL_SIGNATURES "/signatures"
/* The program that called jail_enter(). */
#define JAIL_PROGRAM "/postern-zygote"

/*
 * Moves the process into the jail. GENERATION is a descriptor of the signature directory, opened
 * in this mount namespace; -1 = none. *RET_PROC becomes a descriptor of /proc, which still
 * resolves "self". Returns 0, or -errno with a sentence; after an error the process must end.
 *
 * The caller must exec JAIL_PROGRAM next. Until then the program itself and its libraries are
 * those of the old root and keep it alive, detached as it is, with every file system below it:
 * the mounts are locked to it in a user namespace, and an unmount outside reaches them no more.
 * The mail's storage would stay mounted here while another node mounts it.
 */
int jail_enter(int generation, int *ret_proc, char **error_r);

/*
 * Keeps only the capabilities that forking workers takes: SETUID and SETGID (their users),
 * SYS_ADMIN (their tmpfs), SETPCAP (to give up the rest); and no_new_privs. Returns 0 or -errno.
 */
int jail_drop_capabilities(void);

/* Makes the root read-only, once the signatures are loaded. Returns 0 or -errno. */
int jail_seal(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef JAIL_H
#define JAIL_H

/*
 * The zygote's root: a tmpfs of its own with read-only views of /usr, the few files that libc
 * and OpenSSL want, and the signatures. Nothing of the rest of the machine has a name in there.
 * Needs all capabilities over the process's user and mount namespaces.
 */

#define JAIL_SIGNATURES "/signatures"

/*
 * Moves the process into the jail. GENERATION is a descriptor of the signature directory, opened
 * in this mount namespace; -1 = none. *RET_PROC becomes a descriptor of the old /proc, which still
 * resolves "self". Returns 0, or -errno with a sentence; after an error the process must end.
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

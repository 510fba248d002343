/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LAUNCH_H
#define LAUNCH_H

/*
 * Starts postern-zygote in fresh user, mount, pid, network, IPC and UTS namespaces. The order of
 * calls is what matters here; any failure in the child ends it, it never goes on with more rights
 * than it should have.
 *
 * Needs CAP_SETUID and CAP_SETGID, nothing more: the creator of a user namespace holds every
 * capability over it. Without the two (an ordinary user) the zygote gets one user number, the
 * caller's own: launch_one_user() tells.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <jansson.h>

struct launch {
    const char *zygote;     /* path of the program */
    const char *signatures; /* directory, NULL = none */
    uint32_t id_base;       /* outer number of the namespace's user and group 0 */
    bool one_user;
    uint64_t memory; /* bytes of address space that it may take, 0 = no limit. Its workers set their
                        own; where it has to hold against code that was taken over, groups.h does */
    const json_t *orders; /* the first packet, see orders.h */
};

struct launched {
    pid_t pid;
    int pidfd;   /* close-on-exec; a child of the caller, to be waited for */
    int channel; /* close-on-exec, blocking */
};

/* True when this process may not map users of its choice. */
bool launch_one_user(void);

/* Returns 0, or -errno with a sentence that says which step failed and what to do. */
int launch_zygote(const struct launch *launch, struct launched *ret, char **error_r);

/* Ends one, waits for that, and closes its descriptors. */
void launch_end(struct launched *zygote);

#endif

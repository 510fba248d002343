/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WORKER_H
#define WORKER_H

#include "clam.h"
#include "orders.h"
#include "sandbox.h"

/* Exit statuses of a worker. 0: it was retired, or its channel was closed. */
enum worker_exit {
    WORKER_EXIT_RETIRED = 0,
    WORKER_EXIT_SANDBOX = 3,  /* a step of the sandbox failed */
    WORKER_EXIT_CANARY = 4,   /* the canary was not found */
    WORKER_EXIT_PROTOCOL = 5, /* the channel carried no packet, or took no answer */
    WORKER_EXIT_VOID = 6,     /* a crash after a failed call: no memory, no room (faultguard.h) */
};

struct worker {
    struct clam *clam;
    const struct orders *orders;
    const struct sandbox *sandbox;
    int channel; /* becomes the only open descriptor beside 0, 1 and 2 (/dev/null) */
    int proc;    /* see jail.h */
    unsigned slot;
};

/*
 * The life of a worker, in a process just forked from the zygote: gives up its rights, proves
 * itself on the canary, says {"ready":true} (or {"ready":false,"error":s}), scans until it is
 * retired. Never returns.
 */
_Noreturn void worker_run(const struct worker *worker);

#endif

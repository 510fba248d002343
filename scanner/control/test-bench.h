/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_BENCH_H
#define TEST_BENCH_H

/* For tests of the control socket: a posternd without front-ends, in the test's own event loop. */

#include "control.h"
#include "fake-pool.h"
#include "test-fixture.h"

struct bench {
    struct fixture *fixture;
    sd_event *event;
    struct pool pool;
    struct counters counters;
    struct spool_budget budget;
    struct storage *storage;
    struct releaser *releaser;
    struct service_health *health;
    struct control *control;
};

int bench_setup(void **data);
int bench_teardown(void **data);

/* Opens the control socket; for a test that has closed it. */
void bench_listen(struct bench *b);

/* Keeps N messages ("m0", "m1", ...) in the quarantine, and waits for it. */
void bench_keep(struct bench *b, int n);

/* Runs the loop until the SEQPACKET socket has something to read. */
void bench_wait(struct bench *b, int sock);
/* Runs the loop until it has nothing to do. */
void bench_settle(struct bench *b);

#endif

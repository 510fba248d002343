/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_LOOPBACK_H
#define TEST_LOOPBACK_H

/* A configuration and the peers of three nodes, n1 being this one, in a temporary directory. */

#include "peers.h"
#include "settings.h"

#define NAME "0123456789abcdef"
#define OTHER "fedcba9876543210"

struct bench {
    char *dir;
    struct settings *settings;
    struct peers *peers;
};

/* For cmocka: *STATE is the bench. */
int bench_setup(void **state);
int bench_teardown(void **state);

/* Writes TEXT as NAME in its directory, for this user alone. */
void bench_put(const struct bench *bench, const char *name, const char *text);
/* The configuration, with the lines MORE. */
void bench_settings(struct bench *bench, const char *more);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_PLAY_H
#define TEST_PLAY_H

/* The engine and its workers, as the tests of the pool play them, in the pool's own event loop. */

#include <stdbool.h>
#include <stdint.h>

#include "pool.h"

struct play {
    char *dir;
    char *path;
    sd_event *event;
    int listener;
    int sock; /* the pool's connection; -1 = none */
    struct settings settings;
    struct pool *pool;
};

extern struct play t;

struct result {
    int calls;
    bool has_facts;
    bool lost;
    char *error;
    guint detections;
    gint64 worker;
};

void play_on_done(void *data, const struct scan_outcome *outcome);
/* Lets the loop run until FD can be read. */
void run_until_readable(int fd);
void run_until_done(const struct result *result);
void run_until_ready(bool ready);
void check_result(struct result *result, const char *error, bool lost);
void engine_send(json_t *object, int fd);
void engine_expect(const char *op, gint64 worker);
void engine_accept(const char *state);
void engine_close(void);
/* Hands out a worker; returns its end of the channel. */
int engine_worker(gint64 number);
int message(const char *text);
/* Takes the scan that a worker was given; returns its id. */
json_int_t worker_take(int worker, const char *text);
void worker_answer(int worker, json_int_t id, const char *detection, bool retire);
int play_setup(void **state);
int play_teardown(void **state);

#endif

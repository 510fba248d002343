/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mail that comes whether the scanner is quick or not: one every 1/RATE s, each over a connection
 * of its own, the mails of a directory over and over.
 *
 *   bench-flow SOCKET RATE MAILS TOKEN      clamd protocol, unix socket
 *
 * A line of JSON for each on stdout: {"n":which of the directory,"due":us,"us":us,"answer":s};
 * "due" is when it came (CLOCK_MONOTONIC), "us" how long after that its answer was here, so that a
 * mail which had to wait for another one's end counts the wait. A byte on stdin: 'p' pauses, 'g'
 * goes on; its end ends the flow, after the last answer.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench-instream.h"
#include "bench-mails.h"

/* So many connections at a time; the rest waits here, as in a mail server's queue. Below
 * clamd_clients, and what clamd and its socket's backlog take. */
#define CLIENTS 150
/* Postfix's milter_content_timeout: then the mail server gives up. */
#define WAIT_S 300
#define WAITING_MAX 65536

struct job {
    uint64_t number;
    uint64_t due_us;
};

struct flow {
    const char *socket;
    struct bench_mails *mails;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job waiting[WAITING_MAX]; /* a ring */
    uint64_t put, taken;
    bool is_over;
};

static void
put(struct flow *flow, uint64_t due_us)
{
    pthread_mutex_lock(&flow->lock);
    if (flow->put - flow->taken == WAITING_MAX) {
        bench_die("too many mails wait", "bench-flow");
    }
    flow->waiting[flow->put % WAITING_MAX] = (struct job){.number = flow->put, .due_us = due_us};
    flow->put++;
    pthread_cond_signal(&flow->changed);
    pthread_mutex_unlock(&flow->lock);
}

/* False: there will be no more. */
static bool
take(struct flow *flow, struct job *ret)
{
    pthread_mutex_lock(&flow->lock);
    while (flow->put == flow->taken && !flow->is_over) {
        pthread_cond_wait(&flow->changed, &flow->lock);
    }
    bool has = flow->put > flow->taken;
    if (has) {
        *ret = flow->waiting[flow->taken++ % WAITING_MAX];
    }
    pthread_mutex_unlock(&flow->lock);
    return has;
}

/* What would have to be escaped in JSON is not worth it. One write a line. */
static void
print(const struct flow *flow, const struct job *job, char *answer)
{
    uint64_t us = bench_now_us() - job->due_us;
    for (char *c = answer; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' || (unsigned char)*c > '~' || *c == '"' || *c == '\\' ? '?'
                                                                                           : *c;
    }
    printf("{\"n\": %" PRIu64 ", \"due\": %" PRIu64 ", \"us\": %" PRIu64 ", \"answer\": \"%s\"}\n",
           job->number % flow->mails->count, job->due_us, us, answer);
}

static void *
client_run(void *data)
{
    struct flow *flow = data;
    const struct bench_mails *mails = flow->mails;
    unsigned char *copy = malloc(bench_mails_largest(mails));
    char answer[INSTREAM_ANSWER_MAX];
    for (struct job job; copy != NULL && take(flow, &job);) {
        size_t size = bench_mails_copy(mails, job.number, copy);
        (void)bench_instream(flow->socket, copy, size, WAIT_S, answer);
        print(flow, &job, answer);
    }
    free(copy);
    return NULL;
}

/* What is said on stdin within the time until DUE_US; 0: nothing. */
static int
listen_until(uint64_t due_us)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = bench_now_us();
    uint64_t left_us = due_us > now ? due_us - now : 0;
    struct timespec left = {.tv_sec = (time_t)(left_us / 1000000),
                            .tv_nsec = (long)(left_us % 1000000) * 1000};
    char word = 'e';
    if (ppoll(&in, 1, &left, NULL) <= 0) {
        return 0;
    }
    return read(STDIN_FILENO, &word, 1) == 1 ? word : 'e';
}

static void
run(struct flow *flow, double rate)
{
    const uint64_t step_us = (uint64_t)(1e6 / rate);
    bool is_paused = false;
    uint64_t due_us = bench_now_us();
    for (int word = 0; word != 'e';) {
        word = listen_until(is_paused ? UINT64_MAX / 2 : due_us);
        if (word == 'p' || word == 'g') {
            is_paused = word == 'p';
            due_us = bench_now_us() + step_us;
        } else if (word == 0) {
            put(flow, due_us);
            due_us += step_us;
        }
    }
    pthread_mutex_lock(&flow->lock);
    flow->is_over = true;
    pthread_cond_broadcast(&flow->changed);
    pthread_mutex_unlock(&flow->lock);
}

int
main(int argc, char **argv)
{
    static struct flow flow = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};
    pthread_t threads[CLIENTS];
    double rate = argc == 5 ? strtod(argv[2], NULL) : 0;
    if (rate < 0.01 || rate > 100000) {
        fprintf(stderr, "usage: bench-flow SOCKET RATE MAILS TOKEN\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    flow.socket = argv[1];
    flow.mails = bench_mails_load(argv[3]);
    bench_mails_start(flow.mails, strtoull(argv[4], NULL, 10));
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (pthread_create(&threads[i], NULL, client_run, &flow) != 0) {
            bench_die("thread", "bench-flow");
        }
    }
    run(&flow, rate);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}

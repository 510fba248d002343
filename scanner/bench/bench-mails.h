/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BENCH_MAILS_H
#define BENCH_MAILS_H

/*
 * The mails of one run, in memory before the clock starts. Every message that is handed out is a
 * new one: its header X-Bench has a number of its own, so that no cache of whole messages helps.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct bench_mail {
    unsigned char *data;
    size_t size;
    unsigned char *token; /* ten digits in DATA, NULL = none */
    uint64_t us;          /* what it took */
};

struct bench_mails {
    struct bench_mail *list;
    size_t count;
    uint64_t token;      /* of the first mail */
    atomic_size_t *next; /* in shared memory: several processes may take from it */
};

/* All files of DIR in the order of their names. The memory is shared with children. Ends the
 * program with a sentence on stderr when it cannot. */
struct bench_mails *bench_mails_load(const char *dir);
/* Before each run; the first mail gets the number TOKEN. */
void bench_mails_start(struct bench_mails *mails, uint64_t token);
/* The next mail, by whichever thread or process, numbered; NULL = no more. */
struct bench_mail *bench_mails_next(struct bench_mails *mails);
/* For who goes over them again and again, several at a time: the size of the largest, and a copy of
 * mail NTH (modulo how many there are) with the number TOKEN + NTH. Returns its size. */
size_t bench_mails_largest(const struct bench_mails *mails);
size_t bench_mails_copy(const struct bench_mails *mails, uint64_t nth, unsigned char *ret);
/* One line of JSON on stdout: seconds, bad answers, microseconds of each. */
void bench_mails_print(const struct bench_mails *mails, uint64_t us, size_t bad);

uint64_t bench_now_us(void);
_Noreturn void bench_die(const char *what, const char *name);

#endif

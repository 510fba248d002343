/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_POSTERN_H
#define TEST_POSTERN_H

/* Runs the built program against a posternd in this process. */

#include "test-bench.h"

struct result {
    sd_event_source *source;
    int status; /* -1 until it has ended */
    char *out;
    char *err;
};

/* Runs `./postern --config ... WORDS`, stdin from INPUT (NULL = none), while the loop serves it. */
void postern(struct bench *b, const char *input, struct result *result, const char *const words[]);
/* The same in two steps. */
void postern_start(struct bench *b, const char *input, struct result *result,
                   const char *const words[]);
void postern_wait(struct bench *b, struct result *result);
#define POSTERN(b, result, ...) postern(b, NULL, result, (const char *const[]){__VA_ARGS__, NULL})

/*
 * Fails unless it ended with STATUS and OUT and ERR are in what it wrote; ERR "" = it wrote no
 * error at all. Clears RESULT.
 */
void check(struct result *result, int status, const char *out, const char *err);

/* A file in the bench's directory; its path is freed by g_free(). */
char *put(struct bench *b, const char *name, const char *text);

/* What a main() does before its tests. */
void postern_prepare(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BENCH_INSTREAM_H
#define BENCH_INSTREAM_H

/* A client of the clamd protocol: one INSTREAM over a connection of its own (clamd(8)). */

#include <stdbool.h>
#include <stddef.h>

#define INSTREAM_ANSWER_MAX 256

/* Sends all of DATA to SOCK; false: the other side is gone. */
bool bench_write_all(int sock, const void *data, size_t len);
/*
 * Connects to the unix socket PATH and has DATA scanned. ANSWER gets the line that came back, as
 * "stream: OK", or a word that says why there was none. WAIT_S: how long to wait for it; 0: for
 * ever. Returns false when nothing came back.
 */
bool bench_instream(const char *path, const unsigned char *data, size_t size, unsigned wait_s,
                    char answer[INSTREAM_ANSWER_MAX]);

#endif

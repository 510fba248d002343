/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_VERDICT_H
#define CLAMD_VERDICT_H

/*
 * What a scan found, in the words of clamd's clients. They know three: OK, "NAME FOUND" and ERROR.
 * "Not fully scanned" is FOUND, with a name by which clients tell it from a virus:
 *
 *   Heuristics.Limits.Exceeded.*  a limit, or something that nobody here can open or that is broken
 *   Heuristics.Encrypted.*        needs a key: archives, S/MIME, OpenPGP
 *
 * both as libclamav itself names it with its alerts on, where it does. OK means that all of it was
 * scanned and nothing found.
 */

#include <stdbool.h>
#include <glib.h>

#include "pool.h"

#define CLAMD_TOO_LARGE "Heuristics.Limits.Exceeded.MaxFileSize"

struct clamd_verdict {
    enum verdict verdict;
    GPtrArray *names; /* of char *: for FOUND, the most telling first; never empty then */
    char *error;      /* for ERROR; NULL otherwise */
};

/* OUTCOME is of pool.h. All texts are printable ASCII, names without blanks and colons. */
void clamd_verdict_of(const struct scan_outcome *outcome, struct clamd_verdict *ret);
/* Nothing was found, but by signatures that are AGE_S seconds old: an error. */
void clamd_verdict_too_old(guint64 age_s, struct clamd_verdict *verdict);
/* The verdict on what is larger than message_size: it is not even read. */
void clamd_verdict_too_large(struct clamd_verdict *ret);
/* TEXT is copied. */
void clamd_verdict_error(const char *text, struct clamd_verdict *ret);
/* Frees the texts; VERDICT itself is the caller's. */
void clamd_verdict_clear(struct clamd_verdict *verdict);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WARMUP_H
#define WARMUP_H

#include "clam.h"
#include "orders.h"

/*
 * Everything that libraries fetch on first use, fetched before the fork: OpenSSL's digests, the
 * time zone, GMime, libclamav's paths, and every character set in both directions (glibc loads a
 * module with executable pages for each, which the workers' filter forbids).
 */

/* Opens all character sets; returns how many conversions there are. They stay open, else glibc
 * would unload the modules again. */
unsigned warmup_charsets(void);

/* All of it. Returns 0, or -errno with a sentence: the dummy scan went wrong. */
int warmup(struct clam *clam, const struct orders *orders, char **error_r);

#endif

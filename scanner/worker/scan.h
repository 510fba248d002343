/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCAN_H
#define SCAN_H

/*
 * One object, scanned whole: libclamav over the raw bytes; when they are a mail, GMime takes it
 * apart and libclamav scans each leaf that it did not come upon by itself; whoever recognised a
 * container sees to it that somebody opened it. The result is facts, never a verdict.
 */

#include <stdbool.h>
#include <stddef.h>

#include "clam.h"
#include "facts.h"
#include "orders.h"

/* Scans LEN bytes at DATA in the current directory as temporary directory, which is empty before
 * and after (a fault otherwise). Returns facts for facts_free(). */
struct facts *scan_object(struct clam *clam, const struct orders *orders, const unsigned char *data,
                          size_t len);

#endif

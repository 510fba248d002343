/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ROOM_H
#define ROOM_H

/* Whether a second set of signatures fits into this node's memory. */

#include <glib.h>

#include "manifest.h"

/*
 * Bytes that could be taken now without anybody being killed or swapped out for them: the least of
 * the machine's MemAvailable and of what this process's control groups (v2, memory.max and
 * memory.high; or v1's of memory) and GROUP (a directory, NULL: none), with each group above them,
 * have left, their caches counted as free. 0 when it cannot be known; 1 when nothing is left.
 */
guint64 room_available(const char *group);

/* Percent of the last 10 s in which all programs waited for memory; 0 where nobody knows. */
double room_pressure(void);

/*
 * Bytes that MANIFEST's signatures are likely to take: as much for each as those of CURRENT, which
 * take MEMORY. By the number of signatures where both say it, else by size (but not less than half,
 * nor more than twice as much: a CLD is larger than the same CVD). Without CURRENT or MEMORY (NULL,
 * 0): 200 bytes for each (measured with 8 million: 185), else 4 for each byte of a file.
 */
guint64 room_needed(const struct manifest *manifest, const struct manifest *current,
                    guint64 memory);

#endif

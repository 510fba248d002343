/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GROUPS_H
#define GROUPS_H

/*
 * Control groups (cgroup v2) below the unit's own: manager/ for the engine, zygote/, trial/, and
 * one per slot, w0/ w1/ ..., so that a worker that takes too much memory dies alone, and cannot
 * have children. Needs a delegated subtree (Delegate=yes) with the memory and pids controllers;
 * where there is none, rlimits alone hold the workers.
 *
 * Pages belong to the group whose process touched them first, so the signatures count for zygote/
 * and a worker's group has only what is its own: private memory and its tmpfs.
 */

#include <stdbool.h>
#include <glib.h>

struct groups;

/*
 * Finds the group of this process and makes the others. N_SLOTS workers, each with MEMORY bytes
 * at most. Returns NULL when they cannot be had; *WHY_R then has half a sentence, freed by
 * g_free().
 */
struct groups *groups_new(unsigned n_slots, guint64 memory, char **why_r);
/* The same below DIRECTORY, which holds this process alone. */
struct groups *groups_new_at(const char *directory, unsigned n_slots, guint64 memory, char **why_r);
/* The directory in which they are, NULL where there are none. Borrowed. */
const char *groups_directory(const struct groups *groups);
/* NULL is fine; the groups go with the unit. */
void groups_free(struct groups *groups);

/* All of these do nothing, and return 0, where GROUPS is NULL. Others: -errno. */
int groups_place_zygote(const struct groups *groups, int pidfd);
/* One on trial, alone in a group of at most MEMORY bytes; 0: no limit. REMAINS: in the group of the
 * zygotes, since its pages stay where they were touched first; there has to be no other one then.
 */
int groups_place_trial(const struct groups *groups, int pidfd, guint64 memory, bool remains);
int groups_place_worker(const struct groups *groups, unsigned slot, int pidfd);

/*
 * How many processes of the slot's group the kernel has killed for want of memory, since the
 * group was made.
 */
guint64 groups_oom_kills(const struct groups *groups, unsigned slot);

/* The same of the group on trial; *AT_LIMIT: how often it was at its limit of memory with nothing
 * left to reclaim. A kill without that was the machine's want of memory. */
guint64 groups_trial_oom_kills(const struct groups *groups, bool remains, guint64 *at_limit);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ASIDE_H
#define ASIDE_H

/*
 * What waits for the disk of signatures_dir, in a process of its own. The engine has to tell
 * systemd every few seconds that it is alive, and serves on from memory when that disk hangs: so
 * nothing in its event loop reads or writes there while something serves.
 */

#include <stdint.h>
#include <jansson.h>

struct engine;
struct aside;

/* In that process: ENGINE and TASK are as they were when it was started. Logs nothing. Returns what
 * is to be told, a new reference; not more than ASIDE_MAX bytes of text. */
typedef json_t *aside_work(const struct engine *engine, const void *task);
/* What it has told (borrowed); NULL: it came to no end, and WHY is one sentence about that. */
typedef void aside_done(const json_t *told, const char *why, void *data);

#define ASIDE_MAX 32000
/* After so many seconds it is given up, where a plan has no other number. A process that a disk
 * holds ends when the disk lets it. */
#define ASIDE_SECONDS 60
/* While so many that were given up are not gone yet, no other is started. */
#define ASIDE_LEFT_MAX 2U

struct aside_plan {
    aside_work *work;
    const void *task; /* read by that process alone, so it may go when aside_start() returns */
    aside_done *done; /* from the event loop, once */
    void *data;
    uint64_t seconds; /* 0: ASIDE_SECONDS */
};

/* Starts one; *RET is set to NULL before it is done. Returns 0 or -errno. */
int aside_start(struct engine *engine, const struct aside_plan *plan, struct aside **ret);
/* Ends *ASIDE without a word, and sets it to NULL; NULL is fine. */
void aside_forget(struct aside **aside);

#endif

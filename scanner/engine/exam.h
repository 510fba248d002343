/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef EXAM_H
#define EXAM_H

/*
 * The examination of a zygote that was just started: it loads, its workers find what must be found
 * and nothing in what is clean, and survive it, within limits. Blocks: it is for a process of its
 * own (trial-run.h), or a single host's engine that has no mail to lose.
 *
 * Limits are processor time, so that a node that is busy with mail rejects nothing for that; the
 * clock only ends what never would. Processor time is read from outside (clock_getcpuclockid(3)),
 * so what is examined cannot lie about it.
 */

#include <stdbool.h>
#include <glib.h>
#include <jansson.h>

#include "launch.h"
#include "record.h"
#include "samples.h"

enum exam_result {
    EXAM_PASSED,
    EXAM_FAILED,      /* by the signatures' fault: reject them */
    EXAM_INTERRUPTED, /* nobody knows by whose: killed from outside, or the clock ran out */
    EXAM_UNABLE,      /* by this node's fault */
};

struct exam_limits {
    guint64 load_us;   /* processor time for loading */
    guint64 sample_us; /* for one sample */
    gint64 end_us;     /* g_get_monotonic_time() at which it is over, finished or not */
    guint64 size;      /* largest sample, bytes; larger ones are left out */
};

struct exam {
    const struct launched *zygote; /* borrowed; a child of the caller, which reaps it */
    const struct exam_limits *limits;
    unsigned slot; /* of its workers: nobody else's */
    /* Puts a new worker where it belongs; NULL: nothing to do. Returns 0 or -errno. */
    int (*place)(int pidfd, void *data);
    /* How many processes the kernel has killed for the limit of memory (*OWN), or for want of it.
     */
    guint64 (*memory_kills)(guint64 *own, void *data);
    /* Told after each sample; may be NULL. */
    void (*progress)(guint done, guint total, void *data);
    void *data;

    /* What came of it. */
    struct record_trial measured;
    char *reason;   /* one sentence unless it passed; freed by g_free() */
    bool of_memory; /* it is that there was none, or not enough */

    /* The worker there is. */
    struct {
        int channel; /* -1: none */
        int pidfd;
        pid_t pid;
        guint64 number;
    } worker;
    json_t *said;      /* by the zygote, when it had loaded */
    guint64 kills;     /* as memory_kills() said at the beginning */
    guint64 kills_own; /* of them for the limit */
};

void exam_init(struct exam *exam, const struct launched *zygote, const struct exam_limits *limits);
/* Frees what is inside; the worker ends by its channel. */
void exam_clear(struct exam *exam);

/* Waits until it has loaded; `measured` is then known but for scan_us. */
enum exam_result exam_load(struct exam *exam);
/* Has each of SAMPLES (of struct sample *) scanned. */
enum exam_result exam_scan(struct exam *exam, GPtrArray *samples);

/* The zygote, which passed, goes on without its parent. False: it does not answer. */
bool exam_outlive(struct exam *exam);

#endif

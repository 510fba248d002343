/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TRIAL_RUN_H
#define TRIAL_RUN_H

/*
 * One look for new signatures and the trial of what is there, from the first to the last step, in a
 * process of its own (trial.h), because all of it waits: for disks, for a lock, for a loader.
 *
 * It takes the offers of postern-update and postern-share (store_take), picks the generation
 * (store_candidate), asks whether there is memory, moves it to RECORD_TRYING, reads all its files
 * and compares the hashes, starts a zygote (which is in a control group of its own, and inherits
 * this process's niceness and place with the OOM killer), has it examined (exam.h), judges
 * (trial-rules.h), and records what came of it. The store is locked only while it is changed.
 *
 * It says, one packet each:
 *   {"event":"refused","error":s}                     the offer is not what it says
 *   {"event":"recovered","generation":s,"rejected":b,"reason":s}
 *                                                     a trial before this one did not come to its
 * end
 *   {"event":"stage","stage":s,"generation":s}        verifying, loading, scanning
 *   {"event":"scanned","done":n,"total":n}
 *   {"event":"zygote","pid":n,"loaded":{...}} + pidfd, {"event":"channel"} + its channel
 *                                                     where it is to remain (handed.h); then it
 *                                                     waits for {"op":"taken"}
 *   {"event":"end","outcome":s,"generation":s or null,"reason":s or null,"measured":{...}
 *    of record_trial_json()}
 */

#include <stdbool.h>
#include <glib.h>

#include "groups.h"
#include "record.h"
#include "settings.h"

#define TRIAL_VERIFYING "verifying" /* the first stage: all that there was is taken by now */

#define TRIAL_NOTHING "nothing"         /* there is nothing to try */
#define TRIAL_BUSY "busy"               /* somebody else changes the store; soon again */
#define TRIAL_WAITING "waiting"         /* for memory; the generation stays fetched */
#define TRIAL_HELD "held"               /* other nodes go first; the generation stays fetched */
#define TRIAL_TRIED "tried"             /* it may be adopted */
#define TRIAL_REJECTED "rejected"       /* never again by itself */
#define TRIAL_INTERRUPTED "interrupted" /* counted: the second time it is rejected */
#define TRIAL_OVERTAKEN "overtaken"     /* somebody adopted or rejected it meanwhile */
#define TRIAL_FAILED "failed"           /* by this node's fault; later again */

/* Whether an outcome, or the stage that shows it, means that it waits and nothing runs. */
bool trial_is_resting(const char *outcome);

struct trial_task {
    const struct settings *settings;
    const struct groups *groups; /* NULL: there are none */
    const char *program;         /* of the zygote */
    const char *role;            /* as precedence_of() takes it */
    const char *wanted;          /* the generation that somebody asked for; NULL: what comes next */
    bool whatever_memory;        /* nobody needs it now: do not ask whether there is room, and what
                                    passes remains: the engine gets its zygote */
    unsigned slot;               /* of its workers */
    struct record_trial in_use;  /* what is loaded now, as far as it is known */
    int channel;                 /* where it says what it does */
};

/* Returns when all is said. The process is to end then. */
void trial_run(const struct trial_task *task);

#endif

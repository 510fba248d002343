/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REHEARSE_H
#define REHEARSE_H

/* A plan, step by step in the scheduler itself, before anything is done: whatever would touch the
 * mail is a refusal. */

#include "plan.h"
#include "refuse.h"

#define REHEARSE_QUESTIONS 3
struct rehearsal {
    char *steps[PLAN_SETUP_STEPS]; /* what each step does, in words; NULL = no such step */
    struct {
        const char *question;
        char *answer;
    } then[REHEARSE_QUESTIONS]; /* how the cluster behaves when setup is done */
};
void rehearsal_clear(struct rehearsal *rehearsal);

/* Both return 0, or -errno with one sentence in *ERROR_R when it could not be simulated. */
int rehearse_setup(const struct model *model, const struct plan *plan, struct rehearsal *rehearsal,
                   GPtrArray *refusals, char **error_r);
int rehearse_remove(const struct model *model, const struct plan *plan, struct rehearsal *rehearsal,
                    GPtrArray *refusals, char **error_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "proof-message.h"

static const char *const state_names[] = {
    [PROOF_RECORDED] = "recorded", [PROOF_UNRECORDED] = "unrecorded", [PROOF_CONTRARY] = "contrary",
    [PROOF_INTERNAL] = "internal", [PROOF_RELEASED] = "released",     [PROOF_EARLIER] = "earlier",
    [PROOF_REFUSED] = "refused",   [PROOF_GIVEN_UP] = "given up",
};
static const char *const outcome_names[] = {
    [PROOF_QUEUED] = "queued",     [PROOF_DELIVERED] = "delivered", [PROOF_DEFERRED] = "deferred",
    [PROOF_BOUNCED] = "bounced",   [PROOF_HELD] = "held",           [PROOF_DISCARDED] = "discarded",
    [PROOF_REQUEUED] = "requeued", [PROOF_DELETED] = "deleted",     [PROOF_NOT_TAKEN] = "not taken",
};
static const char *const cause_names[] = {
    [PROOF_NO_CAUSE] = NULL,
    [PROOF_BYPASSED] = "bypassed",
    [PROOF_CRASH] = "crash",
    [PROOF_NOT_SEEN] = "not seen",
};

const char *
proof_state_name(enum proof_state state)
{
    return state_names[state];
}

const char *
proof_outcome_name(enum proof_outcome outcome)
{
    return outcome_names[outcome];
}

const char *
proof_cause_name(enum proof_cause cause)
{
    return cause_names[cause];
}

struct message *
message_ref(struct message *m)
{
    m->refs++;
    return m;
}

void
message_unref(struct message *m)
{
    while (m != NULL && --m->refs == 0) {
        struct message *parent = m->parent;
        char *const texts[] = {m->instance, m->message_id, m->from,   m->source,
                               m->service,  m->verdict,    m->action, m->hint};
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
            g_free(texts[i]);
        }
        g_free(m);
        m = parent;
    }
}

const struct message *
message_judged(const struct message *m)
{
    for (int i = 0; m != NULL && i < PARENTS_MAX; i++, m = m->parent) {
        if (m->verdict != NULL) {
            return m;
        }
    }
    return NULL;
}

enum proof_outcome
message_outcome(const struct message *m)
{
    const struct {
        gboolean holds;
        enum proof_outcome outcome;
    } order[] = {
        {m->delivered, PROOF_DELIVERED}, {m->discarded, PROOF_DISCARDED},
        {m->bounced, PROOF_BOUNCED},     {m->requeued, PROOF_REQUEUED},
        {m->deleted, PROOF_DELETED},     {m->held, PROOF_HELD},
        {m->deferred, PROOF_DEFERRED},   {m->queued != 0, PROOF_QUEUED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        if (order[i].holds) {
            return order[i].outcome;
        }
    }
    return PROOF_NOT_TAKEN;
}

gboolean
message_is_refused(const struct message *m)
{
    static const char *const refusals[] = {"quarantine", "reject", "tempfail", "discard", NULL};
    return m->action != NULL && g_strv_contains(refusals, m->action);
}

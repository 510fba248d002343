/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ACTIONS_H
#define ACTIONS_H

/* What can be done with a message, what can be the matter with it, and which may go together. */

#include <stdbool.h>

/* The later, the stricter: of several the strictest is done with the whole message. */
enum action {
    ACTION_ACCEPT,     /* deliver; the header says the verdict */
    ACTION_TAG,        /* deliver; headers say the verdict, why, and that it was let through */
    ACTION_REPLACE,    /* keep the original, deliver it with a text for each part at fault */
    ACTION_DISCARD,    /* keep a copy durably, then say 250 and deliver nothing */
    ACTION_QUARANTINE, /* keep a copy durably, then 550 */
    ACTION_REJECT,     /* 550 without a copy */
    ACTION_TEMPFAIL,   /* 451: the sender keeps it */
};
#define ACTIONS 7

/* "accept", "tag", ... */
const char *action_name(enum action action);
/* Returns false when NAME is none of them. */
bool action_parse(const char *name, enum action *ret);

/* A set of actions, as settings.def names what a setting may say. */
#define ACTION_BIT(action) (1U << (action))
#define ACTIONS_KEEPING                                                                       \
    (ACTION_BIT(ACTION_DISCARD) | ACTION_BIT(ACTION_QUARANTINE) | ACTION_BIT(ACTION_REJECT) | \
     ACTION_BIT(ACTION_TEMPFAIL))
/* What was found is never delivered; what was not scanned never without a word. */
#define ACTIONS_ON_INFECTED (ACTION_BIT(ACTION_REPLACE) | ACTIONS_KEEPING)
#define ACTIONS_ON_UNSCANNED (ACTION_BIT(ACTION_TAG) | ACTION_BIT(ACTION_REPLACE) | ACTIONS_KEEPING)
#define ACTIONS_ON_END_TO_END (ACTION_BIT(ACTION_TAG) | ACTIONS_KEEPING)
#define ACTIONS_ON_DEFECT (ACTION_BIT(ACTION_ACCEPT) | ACTION_BIT(ACTION_TAG) | ACTIONS_KEEPING)
#define ACTIONS_ON_ERROR (ACTION_BIT(ACTION_QUARANTINE) | ACTION_BIT(ACTION_TEMPFAIL))
#define ACTIONS_ON_OLD (ACTION_BIT(ACTION_TAG) | ACTIONS_KEEPING)
#define ACTIONS_ON_EMPTIED ACTIONS_KEEPING

/* "tag, quarantine, reject"; freed with g_free(). */
char *action_set_text(unsigned set);

/*
 * What can be the matter; each has its setting on_NAME, and a rule may have it too. Where two ask
 * for the same action, the first of them gives the words.
 */
#define SITUATIONS(X)           \
    X(INFECTED, infected)       \
    X(ENCRYPTED, encrypted)     \
    X(LIMIT, limit)             \
    X(DAMAGED, damaged)         \
    X(UNSUPPORTED, unsupported) \
    X(END_TO_END, end_to_end)   \
    X(DEFECT, defect)           \
    X(ERROR, error)             \
    X(OLD, old)                 \
    X(EMPTIED, emptied)

enum situation {
#define SITUATION(upper, lower) ON_##upper,
    SITUATIONS(SITUATION)
#undef SITUATION
        SITUATION_COUNT
};
/* "on_infected", ... */
const char *situation_name(enum situation situation);

#endif

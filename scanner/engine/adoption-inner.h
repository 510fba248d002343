/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ADOPTION_INNER_H
#define ADOPTION_INNER_H

/* For adoption.c (how), adoption-when.c (when), adoption-choice.c (what) and adoption-commit.c
 * alone. */

#include <glib.h>

#include "adoption.h"
#include "engine.h"
#include "record.h"

/* What is to be adopted. */
struct choice {
    char *name; /* NULL: nothing */
    char *path;
    char *before;    /* where `current` led when it was chosen; NULL: nowhere */
    char *reject;    /* why that is rejected then; NULL: it is not */
    bool is_set;     /* `current` leads to it already */
    bool is_untried; /* for want of memory: it is to be tried in the pause */
    bool by_order;   /* of an administrator, or of evidence.c */
    bool force;
};

void choice_clear(struct choice *choice);

/* What is to be adopted by itself; an empty one when nothing is. SERVING may be NULL. */
void choice_find(const struct engine *engine, const char *serving, struct choice *ret);
/* What REQUEST means. Returns 0, -EPERM, -ENOENT or -errno with one sentence. */
int choice_order(const struct engine *engine, const struct adoption_request *request,
                 struct choice *ret, char **error_r);
/*
 * Makes `current` lead to it. Waits for disks. Returns 0, perhaps with one sentence of what else
 * could not be done; -EBUSY: another process changes the store, try again;
 * -ESTALE: `current` was changed meanwhile; or -errno, with one sentence.
 */
int choice_commit(const struct engine *engine, const struct choice *choice, char **error_r);

/*
 * Whether this node may adopt it now (precedence.h). FALSE with one sentence: it waits for other
 * nodes, or one of them rejected it, and so it was here.
 */
bool choice_is_due(const struct engine *engine, const struct choice *choice, char **why_r);

/* Whether it fits into memory beside what is loaded; else one sentence why not. */
bool choice_fits(const struct engine *engine, const struct choice *choice, char **why_r);
/* What its record says, and why (to be freed); RECORD_TRYING also when that cannot be known. */
enum record_state choice_state(const struct engine *engine, const struct choice *choice,
                               char **reason_r);

enum adoption_phase {
    PHASE_NONE,
    PHASE_HOLD,
    PHASE_MEMORY,
    PHASE_QUIET,
    PHASE_ROOM, /* from here on it is under way */
    PHASE_TRYING,
    PHASE_LOADING,
    PHASE_PROVING,
    PHASE_DRAINING,
    PHASE_FAILING, /* until the new zygote is gone */
};

struct adoption {
    struct engine *engine;
    enum adoption_phase phase;
    struct choice choice;
    struct nursery *next;
    struct nursery *old;
    bool pauses; /* room was made: what fails is followed by the generation of before */
    gint64 began_us;
    unsigned commits;
    struct {
        pid_t pid; /* 0: none */
        int out;   /* -1: none; what it says */
        sd_event_source *end;
    } commit;
    unsigned idle; /* looks in a row at a trial that did not run */
    /* What could not be adopted last. */
    struct {
        char *name;
        unsigned count;  /* in a row */
        gint64 again_us; /* monotonic: not before */
    } failure;
    gint64 held_until_us;
    char *held_why;
    sd_event_source *watch;
    bool has_complained; /* that it cannot be watched */
    sd_event_source *look;
    sd_event_source *timer; /* looks again, or commits again */
};

/* adoption.c */

/* Tells everybody; WHY may be NULL. */
void adoption_enter(struct adoption *adoption, enum adoption_phase phase, const char *why);
/* In the pause: whether the trial has come to its end, and to what. */
void adoption_look_at_trial(struct adoption *adoption);
/* Loads the choice in a zygote beside the others. */
void adoption_load(struct adoption *adoption);
/* Makes the choice, whose worker is proved, current; and serves it. */
void adoption_commit(struct adoption *adoption);
/* It is current; or RC says what it is not, with one sentence (NULL: none). */
void adoption_committed(struct adoption *adoption, int rc, const char *text);

/* adoption-commit.c */

/* choice_commit() in a process of its own; adoption_committed() when it has ended. Returns 0 or
 * -errno. */
int adoption_commit_start(struct adoption *adoption);
/* Ends it, if there is one. */
void adoption_commit_forget(struct adoption *adoption);
/* The one that serves ends its scans and makes room, for WHY. */
void adoption_make_room(struct adoption *adoption, const char *why);

/* adoption-when.c */

/* Returns 0 or -errno. */
int adoption_watch(struct adoption *adoption);
/* Once, USEC from now: looks again, or commits again. */
void adoption_set_timer(struct adoption *adoption, uint64_t usec);
void adoption_forget_timers(struct adoption *adoption);

#endif

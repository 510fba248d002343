/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ADOPTION_INNER_H
#define ADOPTION_INNER_H

/* For adoption.c (how), adoption-when.c (when), adoption-choice.c (what), adoption-ask.c and, of
 * what is below "memory", evidence.c alone. */

#include <glib.h>

#include "adoption.h"
#include "aside.h"
#include "engine.h"
#include "generation.h"
#include "nursery.h"
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
    guint64 need; /* bytes that it takes beside what serves */
    char *waits;  /* why this node may not adopt it now (precedence.h); NULL: it may */
    char *broken; /* why `before` cannot be loaded, and this is taken in its place; NULL: it can */
    enum nursery_fault fault;      /* of that */
    struct generation_about about; /* without its manifest */
    /* What was done beside the look. */
    bool is_noted;     /* `unnoted`: `current` leads to it now */
    bool is_settled;   /* `damaged`: nothing is left to be done */
    bool is_forgotten; /* and that is why */
    char *mended;      /* was damaged, as was all else, and is whole again; NULL: nothing */
};

void choice_clear(struct choice *choice);
/* Its directory; to be freed by g_free(). */
char *choice_path(const struct engine *engine, const char *name);

/* --- in a process of its own (aside.h): these wait for the disk --- */

/* What is to be adopted by itself; an empty one when nothing is. SERVING may be NULL. Before that
 * it does what an adoption has left to be done. */
void choice_find(const struct engine *engine, const char *serving, struct choice *ret);
/* What REQUEST means. Returns 0, -EPERM, -ENOENT or -errno with one sentence. */
int choice_order(const struct engine *engine, const struct adoption_request *request,
                 struct choice *ret, char **error_r);
/*
 * Makes `current` lead to it. Returns 0, perhaps with one sentence of what else could not be done;
 * 1: that cannot be written, and it serves all the same, for what `current` leads to cannot;
 * -EBUSY: another process changes the store, try again;
 * -ESTALE: `current` was changed meanwhile; or -errno, with one sentence.
 */
int choice_commit(const struct engine *engine, const struct choice *choice, char **error_r);
/* What its record says, and why (to be freed); RECORD_TRYING also when that cannot be known. */
enum record_state choice_state(const struct engine *engine, const struct choice *choice,
                               char **reason_r);
/* What it is made of: `need`, `about`. */
void choice_measure(const struct engine *engine, struct choice *choice);

/* --- memory --- */

/* Whether it fits into memory beside what is loaded; else one sentence why not. */
bool choice_fits(const struct engine *engine, const struct choice *choice, char **why_r);

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
    struct aside *asked; /* a look, a look at the trial, or the commit; NULL: none is under way */
    struct aside *order;
    bool look_again; /* something changed during that look */
    bool has_run;    /* the trial, in this pause, and is over */
    unsigned idle;   /* looks in a row at a trial that did not run */
    /* What could not be adopted last. */
    struct {
        char *name;
        unsigned count;  /* in a row */
        gint64 again_us; /* monotonic: not before */
    } failure;
    struct choice unnoted; /* serves, and `current` does not lead to it; no name: none */
    char *damaged;         /* before its adoption: it is to be forgotten; NULL: none */
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
/* In the pause: the trial may have come to its end. */
void adoption_look_at_trial(struct adoption *adoption);
/* What its record says, with the reason (NULL: none). */
void adoption_trial_told(struct adoption *adoption, enum record_state state, const char *reason);
/* Loads the choice in a zygote beside the others. */
void adoption_load(struct adoption *adoption);
/* Makes the choice, whose worker is proved, current; and serves it. */
void adoption_commit(struct adoption *adoption);
/* What choice_commit() has returned, with one sentence (NULL: none). */
void adoption_committed(struct adoption *adoption, int rc, const char *text);
/* `current` leads to `unnoted` now. */
void adoption_noted(struct adoption *adoption);

/* The one that serves ends its scans and makes room, for WHY. */
void adoption_make_room(struct adoption *adoption, const char *why);

/* adoption-ask.c. Return 0, -EBUSY (not now) or -errno. */

/* Answered by adoption_looked(). */
int adoption_ask_look(struct adoption *adoption, const char *serving);
/* By adoption_ordered(). */
int adoption_ask_order(struct adoption *adoption, const struct adoption_request *request);
/* By adoption_trial_told(). */
int adoption_ask_trial(struct adoption *adoption);
/* By adoption_committed(). */
int adoption_ask_commit(struct adoption *adoption);

/* adoption-when.c */

/* Returns 0 or -errno. */
int adoption_watch(struct adoption *adoption);
/* Once, USEC from now: looks again, or commits again. */
void adoption_set_timer(struct adoption *adoption, uint64_t usec);
void adoption_forget_timers(struct adoption *adoption);
/* CHOICE is taken over; NULL: the disk gave no answer, for WHY. */
void adoption_looked(struct adoption *adoption, struct choice *choice, const char *why);
/* 0 with the choice, which is taken over; else with one sentence. */
void adoption_ordered(struct adoption *adoption, int rc, struct choice *choice, const char *error);

#endif

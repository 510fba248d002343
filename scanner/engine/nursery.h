/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NURSERY_H
#define NURSERY_H

/*
 * One zygote as the engine keeps it: started for a generation, heard, asked whether
 * it lives, asked for workers. Of two generations there are two, side by side, each with its own
 * namespaces; when one is killed, all its workers go with it.
 *
 * While it loads the hashes of all its files are compared with its manifest (vouch.h); it counts as
 * loaded when both are done and nobody has touched them meanwhile.
 *
 * Slots and worker numbers are the caller's: a slot is a user number and a control group, so no
 * two workers that live at the same time have the same one, whichever nursery they are from.
 */

#include <stdint.h>
#include <glib.h>
#include <jansson.h>

struct nursery_plan {
    const char *name; /* of the generation; NULL: the built-in signatures alone */
    const char *path; /* its directory, not a link; NULL with NAME */
    gboolean beside;  /* another one's workers scan mail: it loads with less processor and disk */
    guint64 seconds;  /* it is killed when it has not loaded by then; 0: no limit */
};

/* Why it ended, as far as that says something about its generation. */
enum nursery_fault {
    NURSERY_FAULT_NONE,    /* nothing */
    NURSERY_FAULT_LOADER,  /* libclamav does not take it */
    NURSERY_FAULT_DAMAGED, /* its files are not what its manifest says */
};

/* What it says when it has loaded; the texts are its own. */
struct nursery_loaded {
    guint64 signatures;
    int landlock; /* version; 0 or less: none */
    double load_seconds;
    char *sandbox;
    guint64 memory; /* bytes that it holds, once for all workers */
};

struct engine;
struct launched;
struct nursery;

/*
 * The owner's; called from the event loop, never from within a function of this file. ENDED comes
 * exactly once, after all else: the zygote and all its workers are gone, WHY says how. The owner
 * then calls nursery_free(). While engine->stopping nobody starts another. PIDFD is borrowed.
 */
struct nursery_ops {
    void (*loaded)(struct nursery *nursery, void *data);
    void (*forked)(struct nursery *nursery, uint64_t number, int pidfd, void *data);
    void (*exited)(struct nursery *nursery, uint64_t number, int status, void *data);
    void (*ended)(struct nursery *nursery, const char *why, void *data);
};

/* Starts one for an owner; OPS and DATA outlive it. Returns 0, or -errno with one sentence. */
int nursery_new(struct engine *engine, const struct nursery_plan *plan,
                const struct nursery_ops *ops, void *data, struct nursery **ret, char **error_r);
/*
 * Makes one of ZYGOTE, a child of this process that has been tried: its files were compared, and
 * LOADED is what it said. Its workers scan mail from now on; `loaded` is not told again. ZYGOTE is
 * taken over, also when that fails. Returns 0, or -errno with one sentence.
 */
int nursery_take(struct engine *engine, const struct nursery_plan *plan, struct launched *zygote,
                 json_t *loaded, const struct nursery_ops *ops, void *data, struct nursery **ret,
                 char **error_r);
/* Gives it to another owner. */
void nursery_give(struct nursery *nursery, const struct nursery_ops *ops, void *data);
/* Kills it without waiting and without a word to the owner; NULL is fine. */
void nursery_free(struct nursery *nursery);

/* Kills it; ENDED comes with WHY (NULL: it was not needed any more, and nothing is logged). */
void nursery_kill(struct nursery *nursery, const char *why);

/* Kills all; the event loop ends when the last one is gone. */
void nursery_stop_all(struct engine *engine);

gboolean nursery_is_loaded(const struct nursery *nursery);
/* All 0 before it has loaded. Borrowed. */
const struct nursery_loaded *nursery_said(const struct nursery *nursery);
/* "builtin" where there is none. */
const char *nursery_generation(const struct nursery *nursery);
/* The generation's directory; NULL: built-in. */
const char *nursery_path(const struct nursery *nursery);
gboolean nursery_is_builtin(const struct nursery *nursery);
enum nursery_fault nursery_fault(const struct nursery *nursery);
/* Monotonic microseconds. */
gint64 nursery_loaded_us(const struct nursery *nursery);

/* Asks for a worker with CHANNEL (borrowed). Returns 0, -EHOSTDOWN (not loaded), or -errno. */
int nursery_fork(struct nursery *nursery, uint64_t number, unsigned slot, int channel);

/* The program's path, NULL with a sentence when it cannot be found. Freed by g_free(). */
char *nursery_program(char **error_r);

#endif

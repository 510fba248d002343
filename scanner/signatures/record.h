/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RECORD_H
#define RECORD_H

/*
 * What is known of a generation beside its files: signatures_dir/records/NAME.json, replaced
 * durably. It outlives the files, so that what was rejected is known by its hash.
 *
 *   {"identity":HEX64, "state":WORD, "since":SECONDS, "reason":TEXT or null, "trials":N,
 *    "adopted":SECONDS, and once its trial came to an end "trial":{"signatures":N, "memory":BYTES,
 *    "load_us":N, "scan_us":N}}
 */

#include <glib.h>
#include <jansson.h>

#define RECORD_DIR "records"

/*
 * Who moves a generation from one state to the next, and when:
 *
 *   fetched    store_take(), store_add(): whole and verified in signatures_dir. Nobody tried it.
 *   trying     the trial, before it loads anything; `trials` counts. One that is found in this
 *              state when no trial runs was interrupted (power cut, kill): store_recover() makes it
 *              fetched again, and rejected after RECORD_TRIALS_MAX of them. A trial that ends in
 *              an orderly way without having found anything out (no memory) does not count.
 *   tried      the trial, when all went well. Only from here does the engine adopt by itself.
 *   adopted    store_adopt(): `current` leads to it, or did; `adopted` is when.
 *   rejected   the trial, a roll-back, or `postern signatures reject`, with the reason. Never
 *              tried, taken or adopted again by itself; an administrator may (force).
 *
 * Pinned is no state but a mark: nothing but the pinned generation is adopted by itself.
 */
enum record_state {
    RECORD_FETCHED,
    RECORD_TRYING,
    RECORD_TRIED,
    RECORD_ADOPTED,
    RECORD_REJECTED,
};

#define RECORD_TRIALS_MAX 2

/* What a trial measured on this node; all 0: nothing. */
struct record_trial {
    guint64 signatures; /* loaded */
    guint64 memory;     /* bytes that they take */
    guint64 load_us;    /* processor time */
    guint64 scan_us;    /* processor time for the clean samples of the project, once */
};

struct record {
    enum record_state state;
    char identity[65];
    gint64 since;   /* Unix seconds: in this state */
    gint64 adopted; /* the last time; 0: never */
    guint trials;   /* begun, beside those that an orderly end took back */
    struct record_trial trial;
    char *reason; /* NULL: none */
};

const char *record_state_word(enum record_state state);
/* Whether the table above has a way from FROM to TO. */
gboolean record_may_become(enum record_state from, enum record_state to);

/* Reads records/NAME.json below DIRFD. Returns 0, -ENOENT, -EBADMSG, or -errno. */
int record_read(int dirfd, const char *name, struct record *ret);
/* Writes it, durably. Returns 0 or -errno. */
int record_write(int dirfd, const char *name, const struct record *record);
/* {"signatures":N, ...}, a new reference. */
json_t *record_trial_json(const struct record_trial *trial);
/*
 * Gives the directory FD, which root has just made, to whoever owns the directory DIRFD: the
 * engine has to be able to write what root began. Does nothing unless root calls. Returns 0 or
 * -errno.
 */
int record_share(int dirfd, int fd);
/* Frees what is inside. */
void record_clear(struct record *record);

#endif

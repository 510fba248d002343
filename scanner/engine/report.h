/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REPORT_H
#define REPORT_H

/*
 * What the engine says about itself: to who asks (JSON), in engine_dir/state for who may not ask
 * (one line), to systemd (STATUS=), and to postern-notify ("look again").
 */

#include <glib.h>
#include <jansson.h>

#include "health.h"
#include "settings.h"

enum report_state {
    REPORT_LOADING,
    REPORT_READY,
    REPORT_FAILED,
};

struct report {
    enum report_state state;
    gint64 since; /* Unix seconds */
    char *generation;
    guint64 signatures;
    gboolean test_only;
    char *sandbox;
    double load_seconds;
    guint64 restarts;
    char *error; /* NULL = none */
    guint workers;
    guint64 memory;        /* bytes that the zygote, so all workers together, holds in memory */
    guint64 worker_memory; /* bytes that one worker may take beside that, its tmpfs included */
    gint64 newest;         /* Unix seconds: the newest of the signatures; 0: not known */
    guint database;        /* version of the official database among them, 0: none */
    gint64 database_time;  /* when that was built */
    json_t *adoption;      /* of another generation (docs/ARCHITECTURE.md); NULL: none */
    json_t *refusal;       /* the last one that came to nothing; NULL: none */
    struct health health;  /* of this node (health-watch.h) */
    bool judged; /* it is known: until then the line has none, so that nobody takes it back */
    /* where it is written */
    char *state_path;
    char *engine_dir;
    char *line; /* as last written */
};

void report_init(struct report *report, const struct settings *settings);
/* The node's health as an engine that did not end orderly has left it; false when there is none. */
bool report_left_behind(const struct report *report, struct health *ret);
/* Removes the state file, too: a stopped engine has no state. */
void report_clear(struct report *report);

/* A new text for a field; NULL is fine. */
void report_set_text(char **field, const char *text);

/* The state as JSON, a new reference. */
json_t *report_to_json(const struct report *report);

/*
 * Sets the state and, where the line changed, writes the state file, tells systemd and
 * postern-notify. Returns 0, or -errno when the file could not be written.
 */
int report_publish(struct report *report, enum report_state state);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DOCTOR_H
#define DOCTOR_H

/*
 * What `postern doctor` looks at: one file per subject, each a function that adds findings. Nothing
 * is changed on the host.
 */

#include <glib.h>
#include <jansson.h>

#include "settings.h"

/* In the order of their weight. */
enum doctor_level {
    DOCTOR_OK,
    DOCTOR_UNCHECKED, /* it could not be looked at: for want of root, of a program, of a service */
    DOCTOR_WARNING,   /* it works, but not as well or as surely as it could */
    DOCTOR_PROBLEM,   /* mail can be delivered unscanned, be lost or be refused */
};

struct finding {
    enum doctor_level level;
    const char *id; /* never changes, for programs: "postfix.default-action" */
    char *where;    /* file and parameter, path, unit, resource */
    char *what;     /* one sentence */
    char *todo;     /* what to do; NULL = nothing */
};

void doctor_finding_free(void *finding);

struct doctor {
    const struct settings *settings;
    const char *postfix_config; /* NULL = every instance of this host */
    char **milters;   /* further addresses at which the MTA reaches Postern; may be NULL */
    json_t *posternd; /* its status, NULL = it does not answer here */
    json_t *engine;
    GPtrArray *findings; /* of struct finding *, each once */
};

/*
 * Adds a finding; ID and TODO are kept as they are (literals), WHERE is copied. The same ID, WHERE
 * and text again change nothing.
 */
void doctor_add(struct doctor *doctor, enum doctor_level level, const char *id, const char *where,
                const char *todo, const char *format, ...) G_GNUC_PRINTF(6, 7);

/* A cluster manager runs here. */
gboolean doctor_has_cluster(void);

void doctor_postfix(struct doctor *doctor);
void doctor_state(struct doctor *doctor);
void doctor_host(struct doctor *doctor);
void doctor_cluster(struct doctor *doctor);

#endif

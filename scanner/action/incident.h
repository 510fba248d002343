/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INCIDENT_H
#define INCIDENT_H

/*
 * What somebody may ask about later: what was found, what failed, and who did what with what was
 * kept. Each kind keeps its newest INCIDENT_ROWS rows, so that a flood of one (which anybody can
 * send) never pushes out another (who released a message). The log has them all.
 *
 * Those that write run inside a transaction.
 */

#include <glib.h>
#include <jansson.h>

#include "db.h"

#define INCIDENT_ROWS 20000
#define INCIDENT_TEXT_MAX 512

enum incident_kind {
    INCIDENT_INFECTED,
    INCIDENT_UNSCANNED, /* not fully scanned */
    INCIDENT_ERROR,     /* a scan gave no verdict */
    INCIDENT_STRIKE,    /* a message took two workers down */
    INCIDENT_REFUSED,   /* the quarantine did not take a message */
    INCIDENT_SHOW,      /* somebody looked at what is known of a kept message */
    INCIDENT_EXPORT,    /* somebody was given its content */
    INCIDENT_RELEASE,
    INCIDENT_DELETE,
    INCIDENT_EXPIRY,
    INCIDENT_START,
    INCIDENT_FORMAT, /* the state's format was raised */
    INCIDENT_KINDS,
};
const char *incident_kind_name(enum incident_kind kind);
/* Returns FALSE when NAME is none. */
gboolean incident_kind_parse(const char *name, enum incident_kind *ret);

#define INCIDENT_NOBODY (-1)

struct incident {
    gint64 time; /* Unix seconds; 0 = now */
    enum incident_kind kind;
    const char *key; /* of the kept message; this and the texts below may be NULL */
    const char *queue_id;
    const char *sender;
    const char *client;
    gint64 uid;         /* who did it; INCIDENT_NOBODY = nobody, it happened */
    const char *detail; /* half a sentence */
};

/* Returns 0 or -errno. */
int incident_add(struct db *db, const struct incident *incident);
/* Drops what is too old of each kind. Returns 0 or -errno. */
int incident_prune(struct db *db);

struct incident_filter {
    gint64 since;     /* Unix seconds; 0 = all */
    gint64 before;    /* rows older than this one; 0 = from the newest */
    const char *kind; /* NULL = all */
    const char *key;  /* beginning of a key; NULL = all */
    int limit;
};

/*
 * Up to LIMIT rows, newest first: {"row","time","kind","key","queue_id","sender","client","uid",
 * "detail"}, null where there is none. Returns 0 or -errno.
 */
int incident_list(struct db *db, const struct incident_filter *filter, json_t **ret_rows);

#endif

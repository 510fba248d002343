/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NOTE_H
#define NOTE_H

/*
 * KEY.release beside KEY.eml: what was done to release a kept message, as one JSON object. It is
 * the truth about releases, as the .eml is about the message; the rows in state.db follow it. It
 * is replaced as a whole, durably, before the step that it tells of: a release that was begun and
 * has no end in it is done again (the message keeps its Message-Id).
 */

#include <glib.h>

#define NOTE_SUFFIX ".release"
#define NOTE_VERSION 1

struct note {
    gint64 attempts;  /* begun so far */
    gint64 released;  /* Unix seconds of the last that succeeded; 0 = none */
    gboolean pending; /* one was begun and has not ended */
    gint64 since;     /* when it was begun */
    gint64 uid;       /* by whom */
    char **to;        /* its recipients; NULL = the envelope's */
    char *answer;     /* the last answer of the MTA; NULL = none yet */
};

/* Returns 0, -ENOENT (never released), -EBADMSG (not one of ours), or -errno. */
int note_read(int dirfd, const char *key, struct note *ret_note);
/* Returns 0 or -errno as durable_write(). */
int note_write(int dirfd, const char *key, const struct note *note);
/* A file that is not there is fine. Returns 0 or -errno. */
int note_remove(int dirfd, const char *key);

/* Frees what NOTE holds; NOTE itself is the caller's. */
void note_clear(struct note *note);

#endif

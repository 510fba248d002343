/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RELEASER_H
#define RELEASER_H

/*
 * Releases kept messages, one after the other: begin in the storage thread, send in a thread of
 * its own, end in the storage thread (release.h). A release that was cut off, by a crash or by the
 * mail server, is done again by itself: soon after the start, then after ever longer times.
 */

#include <systemd/sd-event.h>

#include "settings.h"
#include "smtp.h"
#include "storage.h"

struct releaser;
struct releaser_request;

struct releaser_result {
    int error;                 /* -errno: nothing was sent; else 0 */
    enum smtp_outcome outcome; /* valid without an error */
    const char *key;           /* the whole; this and the next are valid without an error */
    const char *answer;        /* of the mail server, or what went wrong */
    gint64 attempt;
    gboolean recorded; /* FALSE: the end could not be written, so it will be done again */
};
typedef void releaser_done(void *data, const struct releaser_result *result);

/* All borrowed, all outlive the releaser. Returns 0 or -errno. */
int releaser_new(sd_event *event, const struct settings *settings, struct storage *storage,
                 struct releaser **ret);
/* Cuts off what is being sent; it stays "releasing". Comes before storage_free(). NULL is fine. */
void releaser_free(struct releaser *releaser);

/*
 * Releases the one entry whose key begins with PREFIX to TO (NULL: its envelope's recipients; both
 * are copied) for user UID. DONE is called once, unless the request is forgotten before. Errors are
 * those of release_begin(), and -EALREADY: another request for the same was under way, and it has
 * been released by that one.
 */
struct releaser_request *releaser_submit(struct releaser *releaser, const char *prefix, char **to,
                                         gint64 uid, releaser_done *done, void *data);
/* The mail server took nothing the last time it was tried: it did not answer, or said "later". */
gboolean releaser_is_unheard(const struct releaser *releaser);
/* Nobody wants the result any more; the release goes on. */
void releaser_forget(struct releaser_request *request);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MILTER_SESSION_H
#define MILTER_SESSION_H

/*
 * One connection of an MTA that speaks the milter protocol: any number of messages, one after the
 * other. What the MTA says is gathered into an envelope and a spool; at the end of the message a
 * transaction takes over, and its reply is handed back.
 *
 * The sender hears 451 at MAIL, before it sends anything, when nothing can be scanned now (the
 * engine is not ready) or held (spool_memory): a message that would be refused at its end need not
 * be transferred. A protocol error closes the connection; the MTA then answers 451 by itself.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "settings.h"
#include "spool.h"
#include "transaction.h"

/* Sent while a scan or the disk takes its time, so that the MTA's timer starts again. */
#define MILTER_PROGRESS_US (10 * G_TIME_SPAN_SECOND)

/* What all sessions share; outlives them. */
struct milter_services {
    sd_event *event;
    const struct settings *settings;
    struct transaction_services *transaction;
    struct spool_budget *budget;
    guint64 progress_us;
};

struct milter_session;

/* The session is over: the owner frees it. Called once, from the event loop. */
typedef void milter_session_ended(void *data, struct milter_session *session);

/*
 * Takes over FD (a non-blocking stream socket). SUBMISSION: it came in by a listener for
 * submission, so its messages are that whoever the client is. Returns 0 or -errno (FD is then
 * still open).
 */
int milter_session_new(const struct milter_services *services, int fd, bool submission,
                       milter_session_ended *ended, void *data, struct milter_session **ret);
/* Closes at once; a message in progress is abandoned. NULL is fine. */
void milter_session_free(struct milter_session *session);

/*
 * Ends the session soon: at once, or when the disk is writing its message, after the reply to
 * that.
 */
void milter_session_drain(struct milter_session *session);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_SESSION_H
#define CLAMD_SESSION_H

/*
 * One connection of a clamd client. Outside IDSESSION it is one command, and is closed after its
 * answer; inside, commands are numbered and answered as they end, in whatever order, and no more
 * are read while services->parallel of them are under way.
 */

#include "clamd-item.h"

/* A client that says nothing, or does not read its answer, is closed after it (clamd's
 * ReadTimeout); client_timeout where that is shorter. */
#define CLAMD_IDLE_SECONDS 120U

struct clamd_session;

/* The connection has ended: the callee frees the session. Called once, from the event loop. */
typedef void clamd_session_ended(void *data, struct clamd_session *session);

/* Takes over FD (non-blocking). Returns 0, or -errno (FD is then still open). */
int clamd_session_new(struct clamd_services *services, int fd, clamd_session_ended *ended,
                      void *data, struct clamd_session **ret);
/* Closes at once. NULL is fine. */
void clamd_session_free(struct clamd_session *session);

/* For STATS: calls EACH for the commands under way. SECONDS: since it is complete. */
typedef void clamd_session_each(void *data, const char *command, double seconds, const char *path);
void clamd_session_foreach(const struct clamd_session *session, clamd_session_each *each,
                           void *data);

#endif

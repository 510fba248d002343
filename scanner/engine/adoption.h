/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ADOPTION_H
#define ADOPTION_H

/*
 * Puts another generation in the place of the one that serves, without a pause (DECISIONS/0021):
 *
 *   load     a second zygote beside the first, while there is memory for both
 *   prove    it forks a worker, which has to pass its canary scan
 *   commit   `current` leads to the new generation, durably
 *   switch   new workers come from the new zygote; those of the old one are let go one by one, as
 *            they become idle; then the old zygote ends
 *
 * Until the commit nothing has changed for anybody, so whatever ends before it (the new zygote, the
 * engine, the machine) leaves the old generation, and after it the new one.
 *
 * By itself it adopts the newest generation that was tried (or the pinned one), and what `current`
 * leads to when somebody else has changed that.
 */

#include <stdbool.h>
#include <jansson.h>

struct adoption;
struct client;
struct engine;

/* Watches signatures_dir. Returns 0, or -errno with one sentence. */
int adoption_new(struct engine *engine, struct adoption **ret, char **error_r);
void adoption_free(struct adoption *adoption);

/* A generation was tried, or something else changed: looks whether there is something to adopt.
 * From anywhere in the event loop, as often as one likes: the look itself comes later. */
void adoption_consider(struct engine *engine);

/* Told by the others. */

/* The worker of crew_prove() is ready; or it has ended, for WHY. */
void adoption_proved(struct engine *engine);
void adoption_disproved(struct engine *engine, const char *why);
/* A worker has ended. */
void adoption_worker_left(struct engine *engine);
/* The zygote that served has made room (supervisor_make_room()). */
void adoption_room_made(struct engine *engine);

#endif

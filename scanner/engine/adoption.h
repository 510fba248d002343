/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ADOPTION_H
#define ADOPTION_H

/*
 * Puts another generation in the place of the one that serves, without a pause (DECISIONS/0021):
 *
 *   hold     who rolls a generation through a cluster has other nodes do it first
 *   memory   waits until there is room for both
 *   loading  a second zygote beside the first
 *   proving  it forks a worker, which has to pass its canary scan. Then `current` leads to the new
 *            generation, durably
 *   draining new workers come from the new zygote; those of the old one are let go one by one, as
 *            they become idle; then the old zygote ends
 *
 * Until `current` has changed nothing has changed for anybody, so whatever ends before it (the new
 * zygote, the engine, the machine) leaves the old generation, and after it the new one.
 *
 * By itself it adopts the newest generation that was tried (or the pinned one), and what `current`
 * leads to when somebody else has changed that. What could not be adopted is tried again, later
 * each time.
 *
 * Where `current` is missing or cannot be loaded, the newest generation whose files are whole takes
 * its place: one that was tried, or served before, pinned or not. One that is damaged is forgotten
 * then, so that it can be fetched again; one that is whole is rejected.
 *
 * Where there is no room for two, the one that serves makes room (phases "quiet" and "room") when
 * nobody is attached, so that no mail is scanned on this node; or at a quiet moment that posternd
 * tells, which it does on a single host alone. Then no new scan begins, those that run end, the old
 * zygote ends, and the new one is loaded in its place; mail gets 451 meanwhile. What could not be
 * loaded is followed by the generation of before.
 */

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

struct adoption;
struct engine;
struct launched;

/* Watches signatures_dir. Returns 0, or -errno with one sentence. */
int adoption_new(struct engine *engine, struct adoption **ret, char **error_r);
void adoption_free(struct adoption *adoption);

/* A generation was tried, or something else changed: looks whether there is something to adopt.
 * From anywhere in the event loop, as often as one likes: the look itself comes later. */
void adoption_consider(struct engine *engine);

/* Another zygote than the one that serves is loading, loaded or ending, or is about to. */
bool adoption_is_busy(const struct engine *engine);
/* It looks for a generation, or loads one: what serves may be another one soon. */
bool adoption_may_help(const struct engine *engine);
/* Room is made or was made: no scan begins, although a worker may still end one. */
bool adoption_pauses(const struct engine *engine);
/* It waits for memory, and nothing but the mail of this node is in the way. */
bool adoption_waits_for_memory(const struct engine *engine);

/* What an administrator asks for. */
struct adoption_request {
    const char *generation; /* as store_find() takes it */
    bool force;             /* though it was not tried, or was rejected */
    const char *reject;     /* why the one that serves is rejected then; NULL: it is not */
};
/*
 * Begins. Returns 0: clients_order_taken() tells whether it may be (it may not while it serves
 * already, or another one is being adopted), then clients_adoption_done() the outcome; or -errno
 * with one sentence. REQUEST may go.
 */
int adoption_request(struct engine *engine, const struct adoption_request *request, char **error_r);

/* For SECONDS nothing is adopted by itself, for WHY; 0: it is again. For who rolls a generation
 * through a cluster: renewed while it lasts, so that nobody holds it for ever. A node that has only
 * the built-in signatures is not held. */
void adoption_hold(struct engine *engine, uint64_t seconds, const char *why);
/* Nothing is being scanned, nor was in the last seconds (as many as the report's "quiet"). */
void adoption_quiet(struct engine *engine);

/* Told by the others. */

/* The worker of crew_prove() is ready; or it has ended, for WHY. */
void adoption_proved(struct engine *engine);
void adoption_disproved(struct engine *engine, const char *why);
/* A worker has ended. */
void adoption_worker_left(struct engine *engine);
/* ZYGOTE was tried in the pause, and has said LOADED: it is to serve; or it ends, where nobody
 * waits for it any more. It is taken over. */
void adoption_take_tried(struct engine *engine, struct launched *zygote, json_t *loaded);
/* A trial that had begun is over, whatever came of it: nobody need wait for it. */
void adoption_trial_ended(struct engine *engine);
/* The zygote that served has made room (supervisor_make_room()). */
void adoption_room_made(struct engine *engine);

#endif

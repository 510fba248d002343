/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VOUCH_H
#define VOUCH_H

/*
 * That what a zygote loads is what its manifest says, in processes beside the engine (aside.h): the
 * hashes of all files while it loads, since both take long; and when it has loaded, whether
 * somebody has touched them since (generation_print()), since the hashes say nothing of that.
 */

#include <stdbool.h>

struct engine;
struct vouch;

/* RC is 0, -EBADMSG (damaged), -ESTALE (touched) or another -errno, with one sentence. */
typedef void vouch_done(int rc, const char *error, void *data);

/* Of the generation in PATH (borrowed; NULL: none, and all is well at once). BESIDE: with less
 * processor. */
struct vouch *vouch_new(struct engine *engine, const char *path, bool beside, vouch_done *done,
                        void *data);
/* Nobody is told any more. NULL is fine. */
void vouch_free(struct vouch *vouch);

/* Begins with the hashes. Returns 0 or -errno; DONE tells of -errno alone. */
int vouch_begin(struct vouch *vouch);
/* It has loaded: DONE tells of 0, or of what is wrong. */
void vouch_loaded(struct vouch *vouch);

#endif

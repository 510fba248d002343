/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CHECK_H
#define CHECK_H

/*
 * Whether a generation on this disk still is what was put there. Its files are hashed once before
 * it is given to others, by a thread: that takes as long as the disk does, and the peers are to be
 * heard. Who takes it compares the hashes again; this one says on which node the disk is bad.
 */

#include "settings.h"

enum check_state {
    CHECK_RUNS, /* ask again */
    CHECK_WHOLE,
    CHECK_DAMAGED,
    CHECK_UNREAD, /* nobody knows: the disk, or this process, failed; it is read again later */
};

/* Seconds until what could not be read is read again. */
#define CHECK_AGAIN_SECONDS 60

struct check;

struct check *check_new(const struct settings *settings);
/* Waits for the thread. */
void check_free(struct check *check);

/* How it is with NAME at NOW (board_now()); begins with it when nobody asked yet and no other one
 * is being hashed. In *WHY_R (borrowed until the next call; may be NULL) one sentence when it is
 * damaged or was not read; that stays while it is read again. */
enum check_state check_look(struct check *check, const char *name, gint64 now, const char **why_r);

#endif

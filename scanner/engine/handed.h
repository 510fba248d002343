/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HANDED_H
#define HANDED_H

/*
 * A zygote that was tried in a pause, when nobody scans, serves on: to load its signatures once
 * more would make the pause twice as long. It is a child of the trial's process, which hands its
 * descriptors to the engine and ends; then it is the engine's child (PR_SET_CHILD_SUBREAPER, for
 * that moment alone).
 */

#include <jansson.h>

struct engine;

struct handed {
    json_t *zygote; /* the packet that told of it; NULL: none did */
    int pidfd;      /* -1: none */
    int channel;    /* -1: none */
};

void handed_init(struct handed *handed);
/* What came is closed: then the zygote ends by itself. */
void handed_clear(struct handed *handed);

/* A packet of the trial's process on its CHANNEL, with FD (taken over; -1: none). */
void handed_hear(struct handed *handed, json_t *packet, int fd, int channel);

/* That process is gone: what it handed over goes to the adoption that waits for it, or ends. */
void handed_settle(struct handed *handed, struct engine *engine);

#endif

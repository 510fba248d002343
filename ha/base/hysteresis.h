/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HYSTERESIS_H
#define HYSTERESIS_H

/*
 * One cause of a node's health over time. A level is entered when N of the last M samples have it
 * or worse, and left when N of the last M are better; with N above M / 2 it cannot be both. Red
 * lasts on top of that until no sample was red for a while: what the service itself brings about
 * ends when the service has left, and would otherwise call it back.
 *
 * Counts samples, knows no clock: whoever calls it does so at regular times.
 */

#include <stdbool.h>
#include <stdint.h>

#include "health.h"

#define HYSTERESIS_WINDOW_MAX 32U

struct hysteresis_rule {
    unsigned needed; /* N, 1 to window */
    unsigned window; /* M, 1 to HYSTERESIS_WINDOW_MAX */
    unsigned hold;   /* samples without red before red is left */
};

struct hysteresis {
    bool begun;
    uint32_t was_red; /* the last samples, the newest in bit 0 */
    uint32_t was_bad; /* yellow or red */
    unsigned quiet;   /* samples since the last red one */
    bool red;
    bool bad;
};

/* As if all samples had been LEVEL: how a predecessor left it. */
void hysteresis_begin(struct hysteresis *cause, enum health_level level);

/*
 * Takes a sample and returns the level that holds now. The very first one counts for the whole
 * window, but at most as yellow: what is wrong from the start is said once, and red is never said
 * for one sample.
 */
enum health_level hysteresis_step(struct hysteresis *cause, const struct hysteresis_rule *rule,
                                  enum health_level sample);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "hysteresis.h"

#include <glib.h>

void
hysteresis_begin(struct hysteresis *cause, enum health_level level)
{
    *cause = (struct hysteresis){
        .begun = true,
        .was_red = level == HEALTH_RED ? UINT32_MAX : 0,
        .was_bad = level != HEALTH_GREEN ? UINT32_MAX : 0,
        .red = level == HEALTH_RED,
        .bad = level != HEALTH_GREEN,
    };
}

/* Enters at NEEDED of the last WINDOW bits, leaves at as many zeros, else stays. */
static bool
decide(bool now, uint32_t bits, const struct hysteresis_rule *rule)
{
    uint32_t mask = rule->window >= HYSTERESIS_WINDOW_MAX ? UINT32_MAX : (1U << rule->window) - 1;
    unsigned ones = (unsigned)__builtin_popcount(bits & mask);
    if (ones >= rule->needed) {
        return true;
    }
    return rule->window - ones >= rule->needed ? false : now;
}

enum health_level
hysteresis_step(struct hysteresis *cause, const struct hysteresis_rule *rule,
                enum health_level sample)
{
    if (!cause->begun) {
        hysteresis_begin(cause, MIN(sample, HEALTH_YELLOW));
    }
    bool red = sample == HEALTH_RED;
    cause->was_red = cause->was_red << 1 | (red ? 1U : 0U);
    cause->was_bad = cause->was_bad << 1 | (sample != HEALTH_GREEN ? 1U : 0U);
    cause->quiet = red ? 0 : MIN(cause->quiet, G_MAXUINT - 1) + 1;
    bool was_red = cause->red;
    cause->red = decide(was_red, cause->was_red, rule);
    if (was_red && cause->quiet < rule->hold) {
        cause->red = true;
    }
    cause->bad = decide(cause->bad, cause->was_bad, rule);
    if (cause->red) {
        return HEALTH_RED;
    }
    return cause->bad ? HEALTH_YELLOW : HEALTH_GREEN;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FAKE_POOL_H
#define FAKE_POOL_H

/*
 * A pool for tests of those who only use one. The verdict is in the message: one that contains
 * VIRUS is infected, LOCKED not fully scanned, FAIL an error; PARTS has as many parts as there
 * can be, with long names; HANG never ends; anything else is clean.
 */

#include "pool.h"

struct pool {
    sd_event *event;
    bool ready;
    guint64 age;     /* what pool_signatures_age() says */
    unsigned queued; /* what pool_queued() says */
    int scans;       /* all that began */
    int running;     /* scans that have not ended */
    int cancelled;   /* scans that were */
    int most;        /* ran at once */
    int hold;        /* no scan ends before so many run; 0 = each ends at once */
    int n_held;
    struct scan *held[16];
};

#endif

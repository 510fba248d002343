/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WATCHES_H
#define WATCHES_H

/* Directories into which something may come: signatures_dir, update_dir, share_dir. */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "settings.h"

#define WATCHES 3

struct watches {
    sd_event *event; /* borrowed */
    void (*changed)(void *data);
    void *data;
    sd_event_source *sources[WATCHES]; /* NULL: it is not watched */
};

/*
 * Watches those of SETTINGS that are there and are not watched. To be called when another process
 * has just looked into them: to find a directory waits for its disk, too. True: one is watched that
 * was not, and what came into it before may have been missed.
 */
bool watches_renew(struct watches *watches, const struct settings *settings);
void watches_clear(struct watches *watches);

#endif

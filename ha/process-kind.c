/* SPDX-License-Identifier: GPL-2.0-only */
#include "process-kind.h"

#include <linux/capability.h>
#include <string.h>
#include <glib.h>

/* Each line is one of the unit's. */
static const struct process_kind kinds[] = {
    {
        .name = "postern-engine.service",
        .program = LIBEXECDIR "/postern-engine",
        .user = "postern-engine",
        .group = "postern-notify",
        .caps = 1ULL << CAP_SETUID | 1ULL << CAP_SETGID,
        .descriptors = 16384,
        .umask = 0077,
        .delegate = true,
        .stands_back = true,
        .options = true,
        .pause_ms = 500,
        .burst = 5,
        .burst_s = 300,
        .start_s = 20,
        .stop_s = 4,
        .watchdog_s = 10,
    },
    {
        .name = "posternd.service",
        .program = LIBEXECDIR "/posternd",
        .user = "postern",
        .group = "postern-notify",
        .descriptors = 65536,
        .umask = 0077,
        .options = true,
        .pause_ms = 100,
        .burst = 5,
        .burst_s = 60,
        .start_s = 10,
        .stop_s = 4,
        .watchdog_s = 8,
    },
    {
        .name = "postern-notify.service",
        .program = LIBEXECDIR "/postern-notify",
        .group = "postern-notify",
        .caps = 1ULL << CAP_DAC_OVERRIDE,
        .descriptors = 1024,
        .umask = 0022,
        .always = true,
        .pause_ms = 1000,
        .start_s = 30,
        .stop_s = 4,
    },
    {
        .name = "postern-update.service",
        .program = LIBEXECDIR "/postern-update",
        .user = "postern-update",
        .descriptors = 1024,
        .umask = 0022,
        .options = true,
        .pause_ms = 10000,
        .start_s = 10,
        .stop_s = 2,
    },
    {
        .name = "postern-share.service",
        .program = LIBEXECDIR "/postern-share",
        .user = "postern-share",
        .descriptors = 1024,
        .umask = 0022,
        .options = true,
        .pause_ms = 10000,
        .start_s = 10,
        .stop_s = 2,
    },
};

const struct process_kind *
process_kind_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

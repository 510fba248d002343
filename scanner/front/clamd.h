/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_H
#define CLAMD_H

/*
 * The clamd front-end: all of clamd_listen, and the connections to them. The protocol knows no
 * authentication: who reaches a socket may have things scanned. On a unix socket that is a matter
 * of its mode and its directory.
 */

#include <systemd/sd-event.h>
#include <jansson.h>

#include "pool.h"
#include "settings.h"
#include "spool.h"

struct clamd;

/* What RELOAD and SHUTDOWN do; either may be NULL. Each returns NULL, or why not (g_free()). */
struct clamd_controls {
    char *(*reload)(void *data);
    char *(*shutdown)(void *data);
    void *data;
};

/*
 * Listens on SETTINGS->clamd_listen and serves; SETTINGS, POOL and BUDGET outlive it. Connections
 * beyond SETTINGS->clamd_clients are closed at once. Returns 0, or -errno with one sentence in
 * *ERROR_R.
 */
int clamd_new(sd_event *event, const struct settings *settings, struct pool *pool,
              struct spool_budget *budget, const struct clamd_controls *controls,
              struct clamd **ret, char **error_r);
/* Closes everything at once: nothing was promised to anybody. NULL is fine. */
void clamd_free(struct clamd *clamd);

/* {"listeners": [{"address": s, "connections": n}, ...], "scans": n, "found": n, ...} */
json_t *clamd_status(const struct clamd *clamd);

#endif

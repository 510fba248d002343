/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WATCH_H
#define WATCH_H

/*
 * postern-notify's one object: it is woken by datagrams (whose content nobody reads), by changes
 * of the units, and by its timer; then it looks at the units and the engine's state file and
 * tells the cluster manager what changed.
 */

#include <systemd/sd-event.h>

#define WATCH_SOCKET "/run/postern/notify.sock"
/* Who may send a datagram: the group that both daemons' units have as a supplementary one. */
#define WATCH_GROUP "postern-notify"

struct watch;

/* Returns 0 with *RET, or -errno with one sentence in *ERROR_R (g_free). */
int watch_new(sd_event *event, struct watch **ret, char **error_r);
/* NULL is fine. */
void watch_free(struct watch *watch);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MILTER_H
#define MILTER_H

/*
 * The directory of the milter's socket, and its bind mount below the mail queue: a chrooted smtpd
 * sees nothing but its queue directory, which in a cluster is on the shared storage. A mount on
 * that storage would keep it from being unmounted, so it lasts only as long as posternd serves.
 */

#include <glib.h>

#include "settings.h"

/* The directory of the first unix socket in milter_listen, or NULL; g_free(). */
char *milter_directory(const struct settings *settings);

/*
 * Lets the MTA's group into DIRECTORY when it is Postern's own below /run/postern: owner USER,
 * group postfix when there is one, mode 2750. Returns 0, or -errno with *ERROR_R (g_free).
 */
int milter_admit(const char *directory, const char *user, char **error_r);

/* The mount point: QUEUE_DIRECTORY/postern without links; g_free(). */
char *milter_mount_point(const char *queue_directory);

/*
 * Binds DIRECTORY to QUEUE_DIRECTORY/postern; nothing happens when it is. Returns 0 with the
 * mount point in *RET_MOUNT (g_free), or -errno with *ERROR_R.
 */
int milter_mount(const char *directory, const char *queue_directory, char **ret_mount,
                 char **error_r);

/*
 * Takes the bind away; after two seconds (at DEADLINE, g_get_monotonic_time(), if that is earlier)
 * lazily when it is busy: somebody's shell there must not cost the node. That hides nothing, since
 * who is still there is in the milter's directory, which is below /run, and does not hold the file
 * system of the queue. Looks at the table of mounts first, so that nothing on the storage is
 * touched when there is no mount. Returns 0, or -errno with *ERROR_R.
 */
int milter_unmount(const char *mount, gint64 deadline, char **error_r);

#endif

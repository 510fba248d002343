/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROGRAMS_H
#define PROGRAMS_H

/*
 * Is what root is about to start whole, root's, and of one version? All return 0, or -errno with
 * one sentence in *ERROR_R (g_free) that names the file and what to do.
 */

#include <systemd/sd-bus.h>

/* Every program is there and executable (-ENOENT), and nobody but root can change it, its directory
 * or CONFIG, which need not be there (-EPERM). Costs a few stat(2). */
int programs_check(const char *config, char **error_r);

/* Every program says that it is of this program's version, else -EXDEV; -EIO when one does not run.
 * Starts each of them. One that gives no answer in time proves nothing, on a node that is as busy
 * as at its boot: that is logged, and no reason to keep the cluster from this node for ever. */
int programs_check_versions(char **error_r);

/* -ESTALE when UNIT (SCORE_*_UNIT) runs a program that was replaced on the disk since. 0 also when
 * it does not run. */
int programs_check_running(sd_bus *bus, const char *unit, char **error_r);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WAKE_H
#define WAKE_H

/* Lets postern-notify look again; ENGINE_DIR is the setting, beside which its socket is. Best
 * effort: the cluster's monitor looks from time to time as well. */
void wake_notify(const char *engine_dir);

#endif

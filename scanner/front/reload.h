/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RELOAD_H
#define RELOAD_H

/*
 * The configuration read again by a running posternd (SIGHUP). What is wrong with it is logged and
 * nothing changes; what can be changed is, and each change is logged; what cannot is said to need
 * a restart. systemd hears of it as sd_notify(3) asks for: RELOADING=1, then READY=1.
 */

#include <stdbool.h>

#include "settings.h"
#include "storage.h"

/*
 * CONFIG as for settings_load(). Returns whether CURRENT was brought up to date; what STORAGE knows
 * of it follows by itself.
 */
bool reload_run(const char *config, struct settings *current, struct storage *storage);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SETTINGS_CHECK_H
#define SETTINGS_CHECK_H

#include "settings.h"

/* What the table in settings.def cannot say. Returns a sentence that begins with a setting's name
 * (g_free()), or NULL when all is well. */
char *settings_check(const struct settings *s);

#endif

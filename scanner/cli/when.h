/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WHEN_H
#define WHEN_H

#include <stdbool.h>
#include <glib.h>

/*
 * A moment as people type it: "2026-03-01", "2026-03-01 12:03", "2026-03-01T12:03:10" (local time),
 * "@1772366590" (Unix seconds), "today", "yesterday", "now", or "90s", "30m", "12h", "7d", "2w"
 * ago; nothing is before 1970.
 */
bool when_parse(const char *text, gint64 *ret_unix_seconds);
/* The same for the value TEXT of the option --NAME; when it is none *ERROR_R has one sentence. */
bool when_option(const char *name, const char *text, gint64 *ret_unix_seconds, char **error_r);

#endif

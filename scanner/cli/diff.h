/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DIFF_H
#define DIFF_H

#include <glib.h>

/*
 * What changes from OLD to FRESH in the form of diff -u, headed LABEL and "LABEL (new)"; fit for a
 * terminal. "" when nothing does. g_free(). Without diff(1): all lines of both.
 */
char *diff_text(const char *label, const char *old, const char *fresh);

/* Asks QUESTION on the terminal. FALSE for anything but yes; with nobody to ask, after a message.
 * An interruption that the caller holds back (SIGINT, SIGTERM, SIGHUP blocked) is a no, and stays.
 */
gboolean diff_confirm(const char *question);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VERDICT_LINE_H
#define VERDICT_LINE_H

#include <glib.h>

/*
 * The value of the field NAME in the text of one of posternd's message lines (mail/message-line.h),
 * without its quotation marks; to be freed by g_free(). NULL when it is absent or "-". Text inside
 * quotation marks is never taken for a field.
 */
char *verdict_line_field(const char *text, const char *name);

#endif

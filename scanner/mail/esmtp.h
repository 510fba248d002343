/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ESMTP_H
#define ESMTP_H

/*
 * What a client asks beside an address: the parameters of MAIL and RCPT that a message has to have
 * again when it is released (RFC 6152 BODY, RFC 6531 SMTPUTF8, RFC 3461 RET, ENVID, NOTIFY, ORCPT).
 * They are kept as the client wrote them, several separated by one space. SIZE and AUTH are of the
 * first transmission alone, and left out.
 */

#include <glib.h>

enum esmtp_command { ESMTP_MAIL, ESMTP_RCPT };

/* What a server says in its answer to EHLO; bits. */
enum esmtp_extension {
    ESMTP_8BITMIME = 1 << 0,
    ESMTP_SMTPUTF8 = 1 << 1,
    ESMTP_DSN = 1 << 2,
};
/* The bit of a line of that answer ("8BITMIME"), 0 for those that do not matter here. */
guint esmtp_extension_of(const char *line);

/*
 * PARAMETERS (g_free, NULL = none so far) and PARAMETER of a COMMAND. One that is not kept, is not
 * well-formed or is there already is left out. Takes PARAMETERS over; returns what is kept now.
 */
char *esmtp_add(char *parameters, enum esmtp_command command, const char *parameter);

/*
 * Those of PARAMETERS (from a file: may be anything; NULL is fine) that COMMAND has, that are
 * well-formed and that a server with EXTENSIONS understands, each with a space before it. Never
 * NULL; g_free().
 */
char *esmtp_select(const char *parameters, enum esmtp_command command, guint extensions);

/* NAME, without a value ("SMTPUTF8") or with the one given ("BODY=8BITMIME"), is in PARAMETERS. */
gboolean esmtp_has(const char *parameters, const char *parameter);

#endif

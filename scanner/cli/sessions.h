/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SESSIONS_H
#define SESSIONS_H

#include <glib.h>

/*
 * Waits until nobody has had a milter connection to the posternd of CONTROL_SOCKET for half a
 * second, LIMIT_US at most. An SMTP session that began before Postfix was told to ask Postern no
 * more keeps its connection to its end, and gets 451 when posternd goes away meanwhile. Returns how
 * many are left; 0 also when no posternd answers.
 */
gint64 sessions_wait(const char *control_socket, gint64 limit_us);

#endif

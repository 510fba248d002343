/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CONFINE_H
#define CONFINE_H

/*
 * What postern-fetch gives up before it speaks to a mirror, and postern-share before it speaks to a
 * peer: it writes nothing but one directory, makes no file larger than a limit, has no
 * children (threads it has), runs no other program, looks into no other process, and dies with its
 * parent. It still reads what its user may, and the network.
 */

#include <glib.h>

/* DIR: what stays writable. BYTES: largest file. SECONDS: most time of the processor, 0: any.
 * Returns NULL, or the name of the step that failed, with errno. A kernel without landlock is no
 * failure. */
const char *confine(int dir, guint64 bytes, guint64 seconds);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_PEER_H
#define CLAMD_PEER_H

/* Who is at the other end of a connection. */

#include <stdbool.h>

/*
 * "uid 33, pid 4711" on a unix socket, else the address; g_free(). *RET_IS_ROOT: the kernel says
 * that it was root who connected, which it says of unix sockets alone.
 */
char *clamd_peer_name(int fd, bool *ret_is_root);

#endif

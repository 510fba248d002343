/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ZYGOTE_H
#define ZYGOTE_H

/* What postern-engine and the postern-zygote that it starts agree on. */

/* Descriptors of a new zygote. */
#define ZYGOTE_CHANNEL 3
#define ZYGOTE_SIGNATURES 4 /* O_PATH, the generation's directory; closed = built-in set only */
#define ZYGOTE_PROC 5       /* /proc, from the moment when it is in its jail */

/* User and group numbers of its user namespace: 0 is the zygote, slot n has n + 1. */
#define ZYGOTE_IDS 256
#define ZYGOTE_SLOTS_MAX (ZYGOTE_IDS - 1)

#endif

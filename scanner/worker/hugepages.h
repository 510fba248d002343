/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HUGEPAGES_H
#define HUGEPAGES_H

#include <glib.h>

/*
 * Puts this process's writable anonymous memory into pages of 2 MB where it fills them: a fork
 * copies page tables, and with 1.5 GB of signatures that is 44 ms with small pages, 2 ms with
 * huge ones. PROC is a descriptor of /proc. Returns the bytes that are huge now; 0 where the
 * kernel cannot (before 6.1): slower forks, nothing else.
 */
guint64 hugepages_collapse(int proc);

#endif

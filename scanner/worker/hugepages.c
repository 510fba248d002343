/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "hugepages.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE (2UL << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* linux/mman.h since 6.1 */
#endif

struct range {
    uintptr_t start;
    uintptr_t end;
};

/* "START-END PERMS OFFSET DEVICE INODE NAME": private, writable, of no file. */
static bool
range_parse(const char *line, struct range *ret)
{
    unsigned long start;
    unsigned long end;
    char perms[5];
    unsigned long inode;
    if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &start, &end, perms, &inode) != 4 || inode != 0 ||
        strncmp(perms, "rw-p", 4) != 0 || strstr(line, "[stack]") != NULL) {
        return false;
    }
    ret->start = (start + HUGE - 1) & ~(HUGE - 1);
    ret->end = end & ~(HUGE - 1);
    return ret->end > ret->start;
}

guint64
hugepages_collapse(int proc)
{
    int fd = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
    FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
    if (maps == NULL) {
        return 0;
    }
    /* First read, then change: madvise may merge what is still to be listed. */
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(struct range));
    char line[512];
    struct range range;
    while (fgets(line, sizeof line, maps) != NULL) {
        if (range_parse(line, &range)) {
            g_array_append_val(ranges, range);
        }
    }
    fclose(maps);
    guint64 done = 0;
    for (guint i = 0; i < ranges->len; i++) {
        const struct range *r = &g_array_index(ranges, struct range, i);
        for (uintptr_t at = r->start; at < r->end; at += HUGE) {
            /* Piece by piece: a hole ends a longer call. */
            if (madvise((void *)at, HUGE, MADV_COLLAPSE) == 0) {
                done += HUGE;
            }
        }
    }
    return done;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "backseat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <glib.h>

/* A tenth of what others get where all want it: a load of half a minute still ends within minutes
 * on a node that has no processor to spare. */
#define NICE 10
#define NICE_MOST 19
/* As the kernel has it for ioprio_set(2): class and level; 0: as the niceness says. */
#define IO_LAST ((2 << 13) | 7)
#define IO_DEFAULT 0
#define IO_WHO_PROCESS 1
/* The kernel lets a session's niceness be changed ten times a second, machine-wide. */
#define PAUSE_US 50000
#define TRIES 100

/* RLIMIT_NICE counts from the other end. */
static bool
may_return_to(int nice)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NICE, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur + (rlim_t)nice >= 20);
}

static int
autogroup_set(int fd, int nice)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d", nice);
    for (int i = 0; i < TRIES; i++) {
        if (write(fd, text, (size_t)len) == len) {
            return 0;
        }
        if (errno != EAGAIN) {
            return -errno;
        }
        (void)usleep(PAUSE_US);
    }
    return -EAGAIN;
}

void
backseat_take(struct backseat *seat, int proc)
{
    *seat = (struct backseat){.nice = getpriority(PRIO_PROCESS, 0)};
    seat->is_nicer = may_return_to(seat->nice) &&
                     setpriority(PRIO_PROCESS, 0, MIN(seat->nice + NICE, NICE_MOST)) == 0;
    (void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_LAST);
    seat->autogroup = openat(proc, "self/autogroup", O_WRONLY | O_CLOEXEC);
    if (seat->autogroup >= 0 && autogroup_set(seat->autogroup, NICE) < 0) {
        close(seat->autogroup);
        seat->autogroup = -1;
    }
    seat->is_taken = true;
}

int
backseat_leave(struct backseat *seat)
{
    int rc = 0;
    if (!seat->is_taken) {
        return 0;
    }
    (void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_DEFAULT);
    if (seat->autogroup >= 0) {
        rc = autogroup_set(seat->autogroup, 0);
        close(seat->autogroup);
    }
    if (seat->is_nicer && setpriority(PRIO_PROCESS, 0, seat->nice) < 0) {
        rc = -errno;
    }
    *seat = (struct backseat){.autogroup = -1};
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "backseat.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <glib.h>

#define NICE_MOST 19
/* As the kernel has it for ioprio_set(2): class and level; 0: as the niceness says. */
#define IO_LAST ((2 << 13) | 7)
#define IO_DEFAULT 0
#define IO_WHO_PROCESS 1
/* The kernel lets a session's niceness be changed ten times a second, machine-wide. */
#define PAUSE_US 50000
#define TRIES 100

/* Of what others get where all want it: a tenth, a third, all. For so long each; 0: to the end. */
static const struct {
    int nice;
    unsigned seconds;
} steps[] = {{10, 20}, {5, 40}, {0, 0}};

/* What the signal's handler has to know of the seat that is taken. */
static struct {
    struct backseat seat;
    unsigned step;
} now;

/* RLIMIT_NICE counts from the other end. */
static bool
may_return_to(int nice)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NICE, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur + (rlim_t)nice >= 20);
}

/* Also from a signal's handler. NICE: 0 to 19. */
static int
autogroup_set(int fd, int nice)
{
    const char digits[] = {(char)('0' + nice / 10), (char)('0' + nice % 10)};
    const char *text = nice < 10 ? digits + 1 : digits;
    ssize_t len = nice < 10 ? 1 : 2;
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

static int
nice_in(const struct backseat *seat, unsigned step)
{
    return MIN(seat->nice + steps[step].nice, NICE_MOST);
}

static void
on_alarm(int number)
{
    int error = errno;
    (void)number;
    now.step++;
    if (now.seat.is_nicer) {
        (void)setpriority(PRIO_PROCESS, 0, nice_in(&now.seat, now.step));
    }
    if (now.seat.autogroup >= 0) {
        (void)autogroup_set(now.seat.autogroup, steps[now.step].nice);
    }
    (void)alarm(steps[now.step].seconds);
    errno = error;
}

/* What it does meanwhile is not to be interrupted. */
static void
start_steps(const struct backseat *seat)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    now.seat = *seat;
    now.step = 0;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGALRM, &action, NULL) == 0) {
        (void)alarm(steps[0].seconds);
    }
}

void
backseat_take(struct backseat *seat, int proc)
{
    *seat = (struct backseat){.nice = getpriority(PRIO_PROCESS, 0)};
    seat->is_nicer =
        may_return_to(seat->nice) && setpriority(PRIO_PROCESS, 0, nice_in(seat, 0)) == 0;
    (void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_LAST);
    seat->autogroup = openat(proc, "self/autogroup", O_WRONLY | O_CLOEXEC);
    if (seat->autogroup >= 0 && autogroup_set(seat->autogroup, steps[0].nice) < 0) {
        close(seat->autogroup);
        seat->autogroup = -1;
    }
    seat->is_taken = true;
    start_steps(seat);
}

int
backseat_leave(struct backseat *seat)
{
    int rc = 0;
    if (!seat->is_taken) {
        return 0;
    }
    (void)alarm(0);
    (void)signal(SIGALRM, SIG_DFL);
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

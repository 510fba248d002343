/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands before postern-zygote in a node of the lab: as long as there is a file HOLD, the
 * signatures are "being loaded", and when there is something in it, loading crashes. A script would
 * not do, the engine executes the program by its descriptor.
 */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef HOLD
#define HOLD "/var/lib/lab-hold-load"
#endif
#ifndef PROGRAM
#define PROGRAM "/usr/libexec/postern/postern-zygote.real"
#endif
#define POLL_US 20000

int
main(int argc, char **argv)
{
    /* With an option it only tells its version, to the agent. */
    struct stat hold;
    while (argc == 1 && stat(HOLD, &hold) == 0) {
        if (hold.st_size > 0) {
            /* A signal that is sent would not do: the first process of its namespace ignores it. */
            __builtin_trap();
        }
        usleep(POLL_US);
    }
    execv(PROGRAM, argv);
    perror(PROGRAM);
    return 1;
}

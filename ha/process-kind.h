/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROCESS_KIND_H
#define PROCESS_KIND_H

/*
 * What the units in ocf/ say of each program, for machines without systemd: who it is, what it may,
 * when it is started again. The sandbox of the units (their own view of the file system, the filter
 * of system calls) is systemd's and is missing there.
 */

#include <stdbool.h>
#include <stdint.h>

struct process_kind {
    const char *name;    /* as the unit: "posternd.service" */
    const char *program; /* path; postern-supervise runs it */
    const char *user;    /* NULL: root */
    const char *group;   /* a supplementary one; NULL: none but the user's */
    uint64_t caps;       /* bits by number: all that it keeps */
    unsigned descriptors;
    unsigned umask;
    bool delegate; /* the control group is its user's: the engine makes groups of its own there */
    bool stands_back;  /* is nicer for a while, and may come back to 0 from that */
    bool options;      /* takes the words of POSTERN_OPTIONS */
    bool always;       /* started again after an orderly end, too */
    unsigned pause_ms; /* before it is started again */
    unsigned burst;    /* starts within BURST_S seconds before it is given up; 0 = never */
    unsigned burst_s;
    unsigned start_s;    /* until it has to be ready */
    unsigned stop_s;     /* from SIGTERM to SIGKILL */
    unsigned watchdog_s; /* between two signs of life; 0 = none is wanted */
};

/* The kind of that NAME, or NULL. */
const struct process_kind *process_kind_find(const char *name);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HEALTH_PROBE_H
#define HEALTH_PROBE_H

/*
 * Measures the node for health-watch.h: in a child process, because a disk that does not answer
 * holds whoever asks, and the engine must not be held. The child has no capability and no
 * descriptor but its end of the channel, and dies with the engine.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Plain data: it crosses the channel as it is, between two copies of one program. */
#define HEALTH_PLACES_MAX 8U
struct health_measure {
    double pressure;    /* percent of the last 10 s in which all programs waited for memory
                           (/proc/pressure/memory, "full avg10"); below 0: unknown */
    uint64_t available; /* bytes (MemAvailable); 0: unknown */
    /* of each place, bytes that this user may still write, and the file system's size; 0 of both:
       unknown */
    uint64_t room[HEALTH_PLACES_MAX];
    uint64_t total[HEALTH_PLACES_MAX];
    bool no_inodes;
    bool readonly;      /* a file system that was writable at first is not any more */
    bool readonly_ever; /* one is read-only, perhaps on purpose */
    bool error;         /* a write, or the look itself, has failed with an error of the device */
    bool clock_unset;   /* the kernel's clock is not synchronised; false also when unknown */
    int64_t clock_us;   /* CLOCK_REALTIME - CLOCK_BOOTTIME: changes when the clock is set */
    unsigned jumps;     /* filled in by health-watch.h */
    bool silent;        /* likewise: the child does not answer */
    bool old;           /* likewise, this and the next: of struct health_signatures */
    bool waits;
    bool moves;
};

/* Measures here and now. PLACES: up to HEALTH_PLACES_MAX directories, NULL-terminated; one that is
 * missing is left out. WAS_WRITABLE, one per place, remembers. WRITE: also write and sync a small
 * file there. */
void health_measure(const char *const *places, bool *was_writable, bool write,
                    struct health_measure *ret);

struct health_probe;

/* Starts the child. Call it while this process has one thread. Returns 0 or -errno. */
int health_probe_new(const char *const *places, struct health_probe **ret);
/* Kills the child; does not wait for one that a disk holds. NULL is fine. */
void health_probe_free(struct health_probe *probe);

/* To be polled for input: then health_probe_receive(). */
int health_probe_fd(const struct health_probe *probe);
/* Asks for a measure. Returns 0 or -errno: -EPIPE when the child is gone. */
int health_probe_request(struct health_probe *probe, bool write);
/* Returns 0 with *RET, -EAGAIN, or another -errno: -EPIPE when the child is gone. */
int health_probe_receive(struct health_probe *probe, struct health_measure *ret);

#endif

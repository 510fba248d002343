/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "health-probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <glib.h>

#include "durable.h"

/* The files of the engine are few; below this even they do not fit. */
#define INODES_MIN 32U
#define PROBE_BYTES 4096U
/* For file systems without O_TMPFILE. */
#define PROBE_NAME DURABLE_TMP_PREFIX "health"

struct health_probe {
    pid_t pid;
    int channel;
};

/* Of "full avg10=1.23 avg60=..." */
static double
pressure_read(void)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/pressure/memory", &text, NULL, NULL)) {
        return -1;
    }
    const char *line = strstr(text, "full avg10=");
    return line != NULL ? g_ascii_strtod(line + strlen("full avg10="), NULL) : -1;
}

static uint64_t
available_read(void)
{
    g_autofree char *text = NULL;
    const char *line = g_file_get_contents("/proc/meminfo", &text, NULL, NULL)
                           ? strstr(text, "MemAvailable:")
                           : NULL;
    return line != NULL ? g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : 0;
}

static int64_t
clock_offset_us(void)
{
    struct timespec real = {0};
    struct timespec boot = {0};
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    (void)clock_gettime(CLOCK_REALTIME, &real);
    return (int64_t)(real.tv_sec - boot.tv_sec) * 1000000 + (real.tv_nsec - boot.tv_nsec) / 1000;
}

static bool
clock_is_unset(void)
{
    struct timex now = {.modes = 0};
    int state = adjtimex(&now);
    return state >= 0 && (state == TIME_ERROR || (now.status & STA_UNSYNC) != 0);
}

/* What a device says that fails; a refusal or a full disk is none. */
static bool
is_device_error(int error)
{
    static const int errors[] = {EIO, EUCLEAN, ESHUTDOWN, ENXIO, ENODEV, ENOTCONN, ESTALE, EROFS};
    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        if (error == errors[i]) {
            return true;
        }
    }
    return false;
}

/* Writes a page through to the disk; nothing of it stays. */
static bool
write_fails(const char *place)
{
    static const char page[PROBE_BYTES];
    g_autofree char *path = NULL;
    int fd = open(place, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        path = g_build_filename(place, PROBE_NAME, NULL);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    }
    if (fd < 0) {
        return is_device_error(errno);
    }
    bool failed = write(fd, page, sizeof page) < 0 || fdatasync(fd) < 0;
    failed = failed && is_device_error(errno);
    close(fd);
    if (path != NULL) {
        (void)unlink(path);
    }
    return failed;
}

static void
note_room(struct health_measure *measure, size_t i, const struct statvfs *fs)
{
    measure->room[i] = (uint64_t)fs->f_bavail * fs->f_frsize;
    measure->total[i] = (uint64_t)fs->f_blocks * fs->f_frsize;
    /* Some file systems count none. */
    if (fs->f_files > 0 && fs->f_favail < INODES_MIN) {
        measure->no_inodes = true;
    }
}

static void
place_measure(const char *place, size_t i, bool *was_writable, bool write,
              struct health_measure *measure)
{
    struct statvfs fs;
    if (statvfs(place, &fs) < 0) {
        measure->error = measure->error || is_device_error(errno);
        return;
    }
    note_room(measure, i, &fs);
    if ((fs.f_flag & ST_RDONLY) != 0) {
        measure->readonly_ever = true;
        measure->readonly = measure->readonly || *was_writable;
        return;
    }
    *was_writable = true;
    if (write && write_fails(place)) {
        measure->error = true;
    }
}

void
health_measure(const char *const *places, bool *was_writable, bool write,
               struct health_measure *ret)
{
    *ret = (struct health_measure){
        .pressure = pressure_read(),
        .available = available_read(),
        .clock_unset = clock_is_unset(),
        .clock_us = clock_offset_us(),
    };
    for (size_t i = 0; places[i] != NULL; i++) {
        place_measure(places[i], i, &was_writable[i], write, ret);
    }
}

/* The child */

static void
drop_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0) {
        _exit(1);
    }
}

static _Noreturn void
child_run(int channel, pid_t parent, const char *const *places)
{
    bool was_writable[HEALTH_PLACES_MAX] = {false};
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* It goes to all of the unit; the engine ends us, when it ends. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)prctl(PR_SET_NAME, "postern-health", 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
        dup2(channel, STDERR_FILENO + 1) < 0) {
        _exit(1);
    }
    (void)close_range(STDERR_FILENO + 2, ~0U, 0);
    drop_rights();
    for (;;) {
        char write;
        struct health_measure measure;
        if (recv(STDERR_FILENO + 1, &write, 1, 0) != 1) {
            _exit(0);
        }
        health_measure(places, was_writable, write != 0, &measure);
        if (send(STDERR_FILENO + 1, &measure, sizeof measure, MSG_NOSIGNAL) < 0) {
            _exit(1);
        }
    }
}

int
health_probe_new(const char *const *places, struct health_probe **ret)
{
    int pair[2];
    pid_t parent = getpid();
    g_return_val_if_fail(g_strv_length((char **)(uintptr_t)places) <= HEALTH_PLACES_MAX, -E2BIG);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_run(pair[1], parent, places);
    }
    int rc = pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc < 0) {
        close(pair[0]);
        return rc;
    }
    *ret = g_new0(struct health_probe, 1);
    (*ret)->pid = pid;
    (*ret)->channel = pair[0];
    return 0;
}

void
health_probe_free(struct health_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    close(probe->channel);
    (void)kill(probe->pid, SIGKILL);
    for (int i = 0; i < 100 && waitpid(probe->pid, NULL, WNOHANG) == 0; i++) {
        g_usleep(1000);
    }
    g_free(probe);
}

int
health_probe_fd(const struct health_probe *probe)
{
    return probe->channel;
}

int
health_probe_request(struct health_probe *probe, bool write)
{
    char byte = write ? 1 : 0;
    if (send(probe->channel, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) {
        return 0;
    }
    return errno == ECONNRESET ? -EPIPE : -errno;
}

int
health_probe_receive(struct health_probe *probe, struct health_measure *ret)
{
    ssize_t n = recv(probe->channel, ret, sizeof *ret, MSG_DONTWAIT);
    if (n == sizeof *ret) {
        return 0;
    }
    if (n < 0) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }
    return n == 0 ? -EPIPE : -EBADMSG;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "cooldown.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "schedule.h"

#define FILE_NAME "freshclam.dat"
#define MAGIC "FreshClamData"
#define MAGIC_LEN (sizeof MAGIC - 1)

struct data {
    uint32_t version;
    char uuid[37];
    time_t retry_after;
};

gint64
cooldown_read(int dirfd)
{
    char magic[MAGIC_LEN];
    struct data data;
    gint64 until = 0;
    int fd = openat(dirfd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return 0;
    }
    if (read(fd, magic, sizeof magic) == sizeof magic && memcmp(magic, MAGIC, MAGIC_LEN) == 0 &&
        read(fd, &data, sizeof data) == sizeof data && data.version == 1) {
        until = MAX((gint64)data.retry_after, 0);
    }
    close(fd);
    return until;
}

void
cooldown_limit(int dirfd, gint64 now)
{
    if (cooldown_read(dirfd) > now + SCHEDULE_WAIT_MAX) {
        (void)unlinkat(dirfd, FILE_NAME, 0);
    }
}

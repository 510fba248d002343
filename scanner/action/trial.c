/* SPDX-License-Identifier: GPL-2.0-only */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "durable.h"

#define TRIAL_SIZE 4096

static int
touch_meta(struct state *state, void *data)
{
    (void)data;
    return db_exec(state_db(state), "UPDATE meta SET epoch = epoch");
}

static int
compare(const struct durable_file *file, const unsigned char *wrote)
{
    unsigned char got[TRIAL_SIZE];
    int fd = openat(file->dirfd, file->tmp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof got);
    int rc = n < 0 ? -errno : n == TRIAL_SIZE && memcmp(got, wrote, sizeof got) == 0 ? 0 : -EIO;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int
write_and_read(const struct durable_file *file)
{
    unsigned char bytes[TRIAL_SIZE];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        return -EAGAIN;
    }
    int rc = durable_write_all(file->fd, bytes, sizeof bytes);
    if (rc == 0 && fsync(file->fd) < 0) {
        rc = -errno;
    }
    if (rc == 0) {
        /* From the disk, as far as the kernel does what it is asked. */
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
        rc = compare(file, bytes);
    }
    return rc;
}

int
trial_run(struct state *state)
{
    struct durable_file file;
    int rc = state_write(state, touch_meta, NULL);
    if (rc == 0) {
        rc = durable_begin(&file, state_quarantine_fd(state), 0600);
    }
    if (rc == 0) {
        rc = write_and_read(&file);
        durable_abort(&file);
    }
    return rc;
}

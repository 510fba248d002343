/* SPDX-License-Identifier: GPL-2.0-only */
#include "ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BALLAST_NAME "ballast"

void
ballast_lay(int dirfd, guint64 low_water, guint64 free_bytes)
{
    struct stat st;
    guint64 size = MIN(low_water / 2, BALLAST_MAX);
    if (size == 0 || free_bytes < 2 * size ||
        (fstatat(dirfd, BALLAST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         (guint64)st.st_size >= size)) {
        return;
    }
    int fd = openat(dirfd, BALLAST_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return;
    }
    if (posix_fallocate(fd, 0, (off_t)size) != 0) {
        (void)unlinkat(dirfd, BALLAST_NAME, 0);
    }
    close(fd);
}

gboolean
ballast_drop(int dirfd)
{
    return unlinkat(dirfd, BALLAST_NAME, 0) == 0;
}

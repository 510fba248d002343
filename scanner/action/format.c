/* SPDX-License-Identifier: GPL-2.0-only */
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "durable.h"

#define FORMAT_MODE 0600
/* More digits are no format of ours. */
#define FORMAT_MAX 9999

int
format_read(int dirfd, int *ret_format)
{
    char text[16];
    int fd = openat(dirfd, FORMAT_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno == ELOOP ? -EBADMSG : -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    int rc = n < 0 ? -errno : 0;
    close(fd);
    if (rc < 0) {
        return rc;
    }
    text[n] = '\0';
    char *end;
    unsigned long format = strtoul(text, &end, 10);
    if (end == text || *end != '\n' || format == 0 || format > FORMAT_MAX) {
        return -EBADMSG;
    }
    *ret_format = (int)format;
    return 0;
}

int
format_write(int dirfd, int format)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d\n", format);
    const struct iovec piece = {.iov_base = text, .iov_len = (size_t)n};
    return durable_write(dirfd, FORMAT_NAME, &piece, 1, FORMAT_MODE);
}

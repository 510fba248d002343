/* SPDX-License-Identifier: GPL-2.0-only */
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "durable.h"
#include "text.h"

#define SHOWN 100
/* turn_holder() of somebody else holds the lock for a moment. */
#define TRIES 10
#define PAUSE_US 100000

static char *
holder_text(int fd)
{
    char text[SHOWN + 1];
    ssize_t n = pread(fd, text, SHOWN, 0);
    text[n > 0 ? n : 0] = '\0';
    g_strchomp(text);
    return *text == '\0' ? g_strdup("another process") : text_escape(text, SHOWN);
}

static int
lock(int fd)
{
    int rc = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; rc < 0 && errno == EWOULDBLOCK && i < TRIES; i++) {
        g_usleep(PAUSE_US);
        rc = flock(fd, LOCK_EX | LOCK_NB);
    }
    return rc < 0 ? -errno : 0;
}

int
turn_take(const char *path, const char *what, char **error_r)
{
    g_autofree char *text = g_strdup_printf("%s, process %d\n", what, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : lock(fd);
    if (rc == -EWOULDBLOCK) {
        g_autofree char *holder = holder_text(fd);
        *error_r = g_strdup_printf("the cluster is changed from this node at this moment (%s): "
                                   "wait for its end, then come again",
                                   holder);
        rc = -EBUSY;
    } else if (rc < 0 || ftruncate(fd, 0) < 0) {
        rc = rc < 0 ? rc : -errno;
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
    } else {
        (void)durable_write_all(fd, text, strlen(text));
    }
    if (rc < 0 && fd >= 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

void
turn_end(int turn)
{
    if (turn >= 0) {
        close(turn);
    }
}

char *
turn_holder(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    gboolean is_held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    char *text = is_held ? holder_text(fd) : NULL;
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

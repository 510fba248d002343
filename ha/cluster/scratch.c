/* SPDX-License-Identifier: GPL-2.0-only */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cib.h"

static int
write_all(int fd, const char *text)
{
    size_t length = strlen(text);
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Takes FD. */
static int
fill(int fd, const char *path, const char *text, char **error_r)
{
    int rc = fd < 0 ? -errno : write_all(fd, text);
    if (fd >= 0 && close(fd) < 0 && rc == 0) {
        rc = -errno;
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s cannot be written: %s", path, g_strerror(-rc));
    }
    return rc;
}

char *
scratch_file(xmlDoc *doc, char **error_r)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "postern-cib-XXXXXX", NULL);
    g_autofree char *text = cib_text(doc);
    if (fill(g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600), path, text, error_r) < 0) {
        scratch_remove(path);
        return NULL;
    }
    return g_steal_pointer(&path);
}

void
scratch_remove(const char *path)
{
    (void)unlink(path);
}

int
scratch_write(const char *path, const char *text, char **error_r)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fill(fd, path, text, error_r);
}

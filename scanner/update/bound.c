/* SPDX-License-Identifier: GPL-2.0-only */
#include "bound.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "signature-files.h"
#include "space.h"
#include "text.h"

/* libfreshclam unpacks a database two folders deep. */
#define DEPTH 5
/* Of a file, however small: who makes many of them takes the disk, too. */
#define BYTES_LEAST 4096U

/* What is in the directory FD. */
static guint64
bytes_below(int fd, guint depth)
{
    g_autoptr(GPtrArray) names = signature_files_all(fd);
    guint64 bytes = 0;
    for (guint i = 0; names != NULL && i < names->len; i++) {
        struct stat st;
        const char *name = g_ptr_array_index(names, i);
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        bytes += MAX((guint64)st.st_blocks * 512, BYTES_LEAST);
        int below = S_ISDIR(st.st_mode) && depth > 0
                        ? openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
                        : -1;
        if (below >= 0) {
            bytes += bytes_below(below, depth - 1);
            close(below);
        }
    }
    return bytes;
}

/* What there is beside SOURCE. The official databases come first: nothing takes their room. */
static guint64
bytes_beside(const struct settings *settings, GPtrArray *sources, const struct source *source)
{
    guint64 bytes = 0;
    for (guint i = 0; i < sources->len && source->url != NULL; i++) {
        const struct source *other = g_ptr_array_index(sources, i);
        bytes += other == source ? 0 : source_bytes(settings, other);
    }
    return bytes;
}

int
bound_begin(struct bound *bound, const struct settings *settings, GPtrArray *sources,
            const struct source *source, int fd, char **error_r)
{
    guint64 free = space_free(fd);
    guint64 beside = bytes_beside(settings, sources, source);
    guint64 most = settings->update_size - MIN(settings->update_size, beside);
    *bound = (struct bound){.dir = settings->update_dir, .fd = fd};
    if (free == 0) {
        return space_check(fd, settings->update_dir, 1, error_r);
    }
    bound->of_disk = free < most;
    bound->file = MIN(most, free);
    bound->all = bytes_below(fd, DEPTH) + 2 * settings->update_size;
    return 0;
}

char *
bound_broken(const struct bound *bound)
{
    char *error = NULL;
    if (space_free(bound->fd) == 0) {
        (void)space_check(bound->fd, bound->dir, 1, &error);
    } else if (bytes_below(bound->fd, DEPTH) > bound->all) {
        (void)text_fail(&error, -EFBIG,
                        "was ended: it took more than twice update_size in %s, and what the mirror "
                        "sent may be hostile",
                        bound->dir);
    }
    return error;
}

char *
bound_text(const struct bound *bound)
{
    char *error = NULL;
    if (bound->of_disk) {
        (void)text_fail(&error, -ENOSPC,
                        "%s: No space left on device: it has more than %" G_GUINT64_FORMAT
                        " MB, and 64 MB stay free for others; make room there",
                        bound->dir, bound->file >> 20);
    } else {
        (void)text_fail(&error, -EFBIG,
                        "it is larger than the %" G_GUINT64_FORMAT
                        " bytes that update_size leaves for it",
                        bound->file);
    }
    return error;
}

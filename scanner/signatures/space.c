/* SPDX-License-Identifier: GPL-2.0-only */
#include "space.h"

#include <errno.h>
#include <sys/statvfs.h>

#include "text.h"

guint64
space_free(int fd)
{
    struct statvfs room;
    if (fstatvfs(fd, &room) < 0) {
        return G_MAXUINT64;
    }
    guint64 free = (guint64)room.f_bavail * room.f_frsize;
    return free - MIN(free, SPACE_LEFT);
}

int
space_check(int fd, const char *dir, guint64 bytes, char **error_r)
{
    return bytes <= space_free(fd)
               ? 0
               : text_fail(error_r, -ENOSPC,
                           "%s: No space left on device: %" G_GUINT64_FORMAT
                           " MB are needed, and 64 MB stay free for others; make room there",
                           dir, (bytes >> 20) + 1);
}

int
space_check_size(const struct manifest *manifest, guint64 limit, guint64 *bytes_r)
{
    guint64 bytes = 0;
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        if (file->size > limit - bytes) {
            return -EFBIG;
        }
        bytes += file->size;
    }
    if (bytes_r != NULL) {
        *bytes_r = bytes;
    }
    return 0;
}

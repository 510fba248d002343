/* SPDX-License-Identifier: GPL-2.0-only */
#include "cvd-head.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum field { MAGIC, VERSION = 2, SIGNATURES = 3, MD5 = 5, BUILT = 8 };

gboolean
cvd_head_is_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL &&
           (g_ascii_strcasecmp(dot, ".cvd") == 0 || g_ascii_strcasecmp(dot, ".cld") == 0 ||
            g_ascii_strcasecmp(dot, ".cud") == 0);
}

gboolean
cvd_head_is_same(const char *name, const char *other)
{
    size_t n = strcspn(name, ".");
    return cvd_head_is_name(name) && cvd_head_is_name(other) && n == strcspn(other, ".") &&
           g_ascii_strncasecmp(name, other, n) == 0;
}

int
cvd_head_read(int fd, struct cvd_head *ret)
{
    char text[CVD_HEAD_SIZE + 1] = "";
    guint64 version = 0;
    guint64 built = 0;
    *ret = (struct cvd_head){0};
    ssize_t n = pread(fd, text, CVD_HEAD_SIZE, 0);
    if (n < 0) {
        return -errno;
    }
    if (n < CVD_HEAD_SIZE || strlen(text) != CVD_HEAD_SIZE) {
        return -EBADMSG;
    }
    g_auto(GStrv) fields = g_strsplit(g_strchomp(text), ":", -1);
    guint count = g_strv_length(fields);
    if (count <= MD5 || strcmp(fields[MAGIC], "ClamAV-VDB") != 0 ||
        !g_ascii_string_to_unsigned(fields[VERSION], 10, 1, G_MAXUINT, &version, NULL) ||
        !g_ascii_string_to_unsigned(fields[SIGNATURES], 10, 0, G_MAXUINT, &ret->signatures, NULL)) {
        return -EBADMSG;
    }
    if (count > BUILT) {
        (void)g_ascii_string_to_unsigned(fields[BUILT], 10, 0, G_MAXINT64, &built, NULL);
    }
    ret->version = (guint)version;
    ret->built = (gint64)built;
    return 0;
}

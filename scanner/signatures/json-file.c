/* SPDX-License-Identifier: GPL-2.0-only */
#include "json-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#define CHUNK 65536U

json_t *
json_file_read(int fd, size_t most)
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_autofree guint8 *buffer = g_malloc(CHUNK);
    struct stat st;
    ssize_t n;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return NULL;
    }
    /* Its size means nothing: who may write it may do so now. */
    while ((n = read(fd, buffer, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || text->len + (size_t)n > most) {
            return NULL;
        }
        g_byte_array_append(text, buffer, (guint)n);
    }
    return json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
}

json_t *
json_file_load(const char *path, size_t most)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return NULL;
    }
    json_t *object = json_file_read(fd, most);
    close(fd);
    return object;
}

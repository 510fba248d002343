/* SPDX-License-Identifier: GPL-2.0-only */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"

/* All parts at their longest and every recipient of a large list fit; more is no line of ours. */
#define LINE_MAX_BYTES (8U * 1024U * 1024U)
#define NAME_SIZE (COPY_KEY_LENGTH + sizeof COPY_SUFFIX)

static void
name_of(char name[NAME_SIZE], const char *key)
{
    snprintf(name, NAME_SIZE, "%s" COPY_SUFFIX, key);
}

gboolean
copy_name_parse(const char *name, const char *suffix, char ret_key[COPY_KEY_LENGTH + 1])
{
    if (strspn(name, "0123456789abcdef") != COPY_KEY_LENGTH ||
        strcmp(name + COPY_KEY_LENGTH, suffix) != 0) {
        return FALSE;
    }
    memcpy(ret_key, name, COPY_KEY_LENGTH);
    ret_key[COPY_KEY_LENGTH] = '\0';
    return TRUE;
}

gboolean
copy_exists(int dirfd, const char *key)
{
    char name[NAME_SIZE];
    struct stat st;
    name_of(name, key);
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static int
write_header(int fd, const json_t *meta)
{
    char *text = json_dumps(meta, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (text == NULL) {
        return -EINVAL;
    }
    int rc = durable_write_all(fd, COPY_HEADER, strlen(COPY_HEADER));
    if (rc == 0) {
        rc = durable_write_all(fd, text, strlen(text));
    }
    free(text);
    return rc < 0 ? rc : durable_write_all(fd, "\n", 1);
}

/* From the page cache to the page cache, with no second copy in our memory. */
static int
write_message(int to, int from)
{
    struct stat st;
    off_t offset = 0;
    if (fstat(from, &st) < 0) {
        return -errno;
    }
    while (offset < st.st_size) {
        ssize_t n = sendfile(to, from, &offset, (size_t)(st.st_size - offset));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
    }
    return 0;
}

int
copy_write(int dirfd, const char *key, const json_t *meta, int fd)
{
    char name[NAME_SIZE];
    struct durable_file file;
    name_of(name, key);
    int rc = durable_begin(&file, dirfd, 0600);
    if (rc < 0) {
        return rc;
    }
    rc = write_header(file.fd, meta);
    if (rc == 0) {
        rc = write_message(file.fd, fd);
    }
    if (rc < 0) {
        durable_abort(&file);
        return rc;
    }
    return durable_commit(&file, name);
}

/* Returns the length of the first line with its end, -EBADMSG when there is none, or -errno. */
static int
line_read(int fd, GString *line)
{
    char chunk[16384];
    while (line->len < LINE_MAX_BYTES) {
        ssize_t n = pread(fd, chunk, sizeof chunk, (off_t)line->len);
        if (n <= 0) {
            return n < 0 ? -errno : -EBADMSG;
        }
        g_string_append_len(line, chunk, n);
        const char *end = memchr(line->str + line->len - n, '\n', (size_t)n);
        if (end != NULL) {
            return (int)(end - line->str) + 1;
        }
    }
    return -EBADMSG;
}

static int
meta_read(int fd, json_t **ret_meta, guint64 *ret_line)
{
    const size_t prefix = strlen(COPY_HEADER);
    g_autoptr(GString) line = g_string_new(NULL);
    int n = line_read(fd, line);
    if (n < 0) {
        return n;
    }
    if (!g_str_has_prefix(line->str, COPY_HEADER)) {
        return -EBADMSG;
    }
    json_t *meta = json_loadb(line->str + prefix, (size_t)n - prefix, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(meta)) {
        json_decref(meta);
        return -EBADMSG;
    }
    *ret_meta = meta;
    *ret_line = (guint64)n;
    return 0;
}

int
copy_open(int dirfd, const char *key, json_t **ret_meta, int *ret_fd, guint64 *ret_size)
{
    char name[NAME_SIZE];
    struct stat st;
    guint64 line = 0;
    name_of(name, key);
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno == ELOOP ? -EBADMSG : -errno;
    }
    int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EBADMSG;
    if (rc == 0) {
        rc = meta_read(fd, ret_meta, &line);
    }
    if (rc < 0 || ret_fd == NULL) {
        close(fd);
    } else {
        *ret_fd = fd;
    }
    if (rc == 0 && ret_size != NULL) {
        *ret_size = (guint64)st.st_size - line;
    }
    return rc;
}

int
copy_remove(int dirfd, const char *key)
{
    char name[NAME_SIZE];
    name_of(name, key);
    return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

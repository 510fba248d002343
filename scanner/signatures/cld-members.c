/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SECURITY: reads what strangers made. No number of the file is used to allocate, each offset is
 * compared with the file's size, and what libclamav might read otherwise is refused.
 */
#include "cld-members.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "cvd-head.h"
#include "text.h"

#define BLOCK 512
/* ClamAV knows 37 kinds of files, and has one of each. */
#define FILES_MAX 256
/* That of daily has 3 kB. */
#define INFO_MAX (64 * 1024)
#define SHA256_DIGITS 64

/* Of the header, which is a block: the name is at its beginning. */
enum { NAME_SIZE = 100, SIZE_AT = 124, SIZE_SIZE = 12, TYPE_AT = 156 };

struct member {
    char name[NAME_SIZE + 1];
    gint64 at; /* of its content */
    guint64 size;
};

struct cld {
    int fd;
    gint64 size;
    const char *shown;
    char *info; /* name of its .info, escaped */
    struct member *members;
    guint count;
};

/* Returns the number of bytes, fewer than LEN only at the end of the file, or -errno. */
static ssize_t
read_at(int fd, char *buffer, size_t len, gint64 at)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = pread(fd, buffer + have, len - have, at + (gint64)have);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        have += (size_t)MAX(n, 0);
    }
    return (ssize_t)have;
}

static int
unreadable(const struct cld *cld, ssize_t rc, char **error_r)
{
    return rc < 0 ? text_fail(error_r, (int)rc, "%s: %s", cld->shown, g_strerror((int)-rc))
                  : text_fail(error_r, -EBADMSG, "%s: is cut off", cld->shown);
}

/* Octal digits up to a zero, a space or the end of the field; libclamav has 32 bits for it. */
static gboolean
size_parse(const char *field, guint64 *ret)
{
    guint64 size = 0;
    int i = 0;
    for (; i < SIZE_SIZE && field[i] >= '0' && field[i] <= '7'; i++) {
        size = size * 8 + (guint64)(field[i] - '0');
    }
    *ret = size;
    return i > 0 && size <= G_MAXUINT32 && (i == SIZE_SIZE || field[i] == '\0' || field[i] == ' ');
}

/* Its content with what fills the last block. */
static gint64
padded(guint64 size)
{
    return (gint64)((size + BLOCK - 1) / BLOCK * BLOCK);
}

static int
member_parse(const struct cld *cld, const char *block, gint64 at, struct member *ret,
             char **error_r)
{
    memcpy(ret->name, block, NAME_SIZE);
    ret->name[NAME_SIZE] = '\0';
    ret->at = at + BLOCK;
    g_autofree char *name = text_escape(ret->name, NAME_SIZE);
    if ((block[TYPE_AT] != '0' && block[TYPE_AT] != '\0') ||
        !size_parse(block + SIZE_AT, &ret->size)) {
        return text_fail(error_r, -EBADMSG, "%s: the entry of its %s is damaged", cld->shown, name);
    }
    if (padded(ret->size) > cld->size - ret->at) {
        return text_fail(error_r, -EBADMSG, "%s: is cut off within its %s", cld->shown, name);
    }
    return 0;
}

/* Ends where libclamav ends: with the file, or with a block that begins with a zero. */
static int
walk(struct cld *cld, char **error_r)
{
    char block[BLOCK];
    gint64 at = CVD_HEAD_SIZE;
    while (at < cld->size) {
        ssize_t n = read_at(cld->fd, block, sizeof block, at);
        if (n < BLOCK) {
            return unreadable(cld, n, error_r);
        }
        if (*block == '\0') {
            return 0;
        }
        if (cld->count == FILES_MAX) {
            return text_fail(error_r, -EBADMSG, "%s: has more than %d files in it", cld->shown,
                             FILES_MAX);
        }
        struct member *member = &cld->members[cld->count];
        int rc = member_parse(cld, block, at, member, error_r);
        if (rc < 0) {
            return rc;
        }
        cld->count++;
        at = member->at + padded(member->size);
    }
    return 0;
}

/* The only one that libclamav reads is the first; NULL if that is not of NAME. */
static const struct member *
find_info(struct cld *cld, const char *name)
{
    g_autofree char *own = g_strdup_printf("%.*s.info", (int)(strrchr(name, '.') - name), name);
    cld->info = text_escape(own, 200);
    for (guint i = 0; i < cld->count; i++) {
        const char *dot = strrchr(cld->members[i].name, '.');
        if (dot != NULL && g_ascii_strcasecmp(dot, ".info") == 0) {
            return g_ascii_strcasecmp(cld->members[i].name, own) == 0 ? &cld->members[i] : NULL;
        }
    }
    return NULL;
}

static int
damaged(const struct cld *cld, char **error_r)
{
    return text_fail(error_r, -EBADMSG, "%s: its %s is damaged", cld->shown, cld->info);
}

/* What is empty holds nothing: where a new version adds an empty file, differences do not make it.
 */
static int
check_listed(const struct cld *cld, const char *listed, guint64 size, char **error_r)
{
    g_autofree char *name = text_escape(listed, NAME_SIZE);
    gboolean found = size == 0;
    for (guint i = 0; i < cld->count; i++) {
        const struct member *member = &cld->members[i];
        if (strcmp(member->name, listed) != 0) {
            continue;
        }
        if (member->size != size) {
            return text_fail(error_r, -EBADMSG,
                             "%s: its %s has %" G_GUINT64_FORMAT
                             " bytes, not the %" G_GUINT64_FORMAT " that its %s lists",
                             cld->shown, name, member->size, size, cld->info);
        }
        found = TRUE;
    }
    return found ? 0
                 : text_fail(error_r, -EBADMSG, "%s: lacks %s that its %s lists", cld->shown, name,
                             cld->info);
}

static int
check_line(const struct cld *cld, const char *line, char **error_r)
{
    guint64 size = 0;
    g_auto(GStrv) fields = g_strsplit(line, ":", 4);
    if (g_strv_length(fields) != 3 || *fields[0] == '\0' || strlen(fields[0]) > NAME_SIZE ||
        !g_ascii_string_to_unsigned(fields[1], 10, 0, G_MAXINT32, &size, NULL) ||
        strlen(fields[2]) != SHA256_DIGITS) {
        return damaged(cld, error_r);
    }
    return check_listed(cld, fields[0], size, error_r);
}

/* TEXT is changed. The last line is the signature: what comes after it is not signed. */
static int
check_list(const struct cld *cld, char *text, char **error_r)
{
    guint lines = 0;
    for (char *line = text, *next; (next = strchr(line, '\n')) != NULL; line = next + 1, lines++) {
        *next = '\0';
        gboolean first = lines == 0;
        if (g_str_has_prefix(line, "DSIG:")) {
            return lines > 1 ? 0 : damaged(cld, error_r);
        }
        if (first != g_str_has_prefix(line, "ClamAV-VDB:") || lines > FILES_MAX) {
            break;
        }
        int rc = first ? 0 : check_line(cld, line, error_r);
        if (rc < 0) {
            return rc;
        }
    }
    return damaged(cld, error_r);
}

static int
check_info(const struct cld *cld, const struct member *info, char **error_r)
{
    if (info->size > INFO_MAX) {
        return damaged(cld, error_r);
    }
    g_autofree char *text = g_malloc(INFO_MAX + 2);
    ssize_t n = read_at(cld->fd, text, info->size, info->at);
    if (n != (ssize_t)info->size) {
        return unreadable(cld, n, error_r);
    }
    for (ssize_t i = 0; i < n; i++) {
        if (text[i] != '\n' && !g_ascii_isprint(text[i])) {
            return damaged(cld, error_r);
        }
    }
    text[n] = '\n'; /* the last line may have none */
    text[n + 1] = '\0';
    return check_list(cld, text, error_r);
}

static int
check(struct cld *cld, const char *name, char **error_r)
{
    char magic[2] = "";
    ssize_t n = read_at(cld->fd, magic, sizeof magic, CVD_HEAD_SIZE);
    if (n < (ssize_t)sizeof magic) {
        return unreadable(cld, n, error_r);
    }
    if (memcmp(magic, "\x1f\x8b", sizeof magic) == 0) {
        return text_fail(error_r, -EBADMSG,
                         "%s: is compressed, so what it lacks would not be seen; switch "
                         "CompressLocalDatabase off in freshclam.conf, or take the .cvd",
                         cld->shown);
    }
    int rc = walk(cld, error_r);
    const struct member *info = rc < 0 ? NULL : find_info(cld, name);
    if (rc == 0 && info == NULL) {
        return text_fail(error_r, -EBADMSG, "%s: lacks %s, the signed list of its files",
                         cld->shown, cld->info);
    }
    return rc < 0 ? rc : check_info(cld, info, error_r);
}

int
cld_members_check(int fd, const char *name, const char *shown, char **error_r)
{
    struct stat st;
    const char *dot = strrchr(name, '.');
    if (dot == NULL || g_ascii_strcasecmp(dot, ".cld") != 0) {
        return 0;
    }
    if (fstat(fd, &st) < 0) {
        return text_fail(error_r, -errno, "%s: %s", shown, g_strerror(errno));
    }
    struct cld cld = {
        .fd = fd, .size = st.st_size, .shown = shown, .members = g_new0(struct member, FILES_MAX)};
    int rc = check(&cld, name, error_r);
    g_free(cld.members);
    g_free(cld.info);
    return rc;
}

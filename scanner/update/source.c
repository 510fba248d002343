/* SPDX-License-Identifier: GPL-2.0-only */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "cld-members.h"
#include "durable.h"
#include "json-file.h"
#include "signature-files.h"

#define WHOLE "whole.json"
#define WHOLE_MAX (1024 * 1024)
#define URL_DIGITS 12
#define DAT_MAX 4096
#define DEPTH 5

static void
source_free(void *p)
{
    struct source *source = p;
    g_free(source->name);
    g_free(source->url);
    g_strfreev(source->files);
    g_free(source);
}

static gboolean
is_none(char *const *list)
{
    return list[0] != NULL && strcmp(list[0], "none") == 0;
}

static struct source *
official(const struct settings *settings)
{
    struct source *source = g_new0(struct source, 1);
    source->name = g_strdup(SOURCE_OFFICIAL);
    source->files = g_strdupv(settings->update_databases);
    return source;
}

static struct source *
url(const char *text)
{
    struct source *source = g_new0(struct source, 1);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    const char *file = strrchr(text, '/');
    source->name = g_strdup_printf("url-%.*s", URL_DIGITS, sum);
    source->url = g_strdup(text);
    source->files = g_new0(char *, 2);
    source->files[0] = g_strdup(file != NULL ? file + 1 : text);
    return source;
}

GPtrArray *
sources_of(const struct settings *settings)
{
    GPtrArray *sources = g_ptr_array_new_with_free_func(source_free);
    if (!is_none(settings->update_databases)) {
        g_ptr_array_add(sources, official(settings));
    }
    for (char **each = settings->update_urls; *each != NULL; each++) {
        g_ptr_array_add(sources, url(*each));
    }
    return sources;
}

const struct source *
source_find(GPtrArray *sources, const char *name)
{
    for (guint i = 0; i < sources->len; i++) {
        const struct source *source = g_ptr_array_index(sources, i);
        if (strcmp(source->name, name) == 0) {
            return source;
        }
    }
    return NULL;
}

char *
source_mirror_url(const char *mirror)
{
    char *text =
        strstr(mirror, "://") != NULL ? g_strdup(mirror) : g_strconcat("https://", mirror, NULL);
    gsize len = strlen(text);
    while (len > 0 && text[len - 1] == '/') {
        text[--len] = '\0';
    }
    return text;
}

char *
source_origin(const struct source *source, const struct settings *settings)
{
    g_autofree char *text = source->url != NULL ? g_strdup(source->url)
                            : settings->update_mirrors[0] != NULL
                                ? source_mirror_url(settings->update_mirrors[0])
                                : g_strdup(SOURCE_OFFICIAL);
    return source_shown(text);
}

char *
source_shown(const char *text)
{
    GString *shown = g_string_new(NULL);
    const char *host;
    while ((host = strstr(text, "://")) != NULL) {
        host += strlen("://");
        g_string_append_len(shown, text, host - text);
        const char *at = g_strrstr_len(host, (gssize)strcspn(host, "/ \t'\""), "@");
        text = at != NULL ? at + 1 : host;
    }
    g_string_append(shown, text);
    return g_string_free(shown, FALSE);
}

char *
source_dir(const struct settings *settings, const char *name)
{
    return g_build_filename(settings->update_dir, "sources", name, NULL);
}

/* libfreshclam's has 61 bytes. */
static gboolean
is_kept(int dir, const char *name)
{
    struct stat st;
    return strcmp(name, WHOLE) == 0 ||
           (strcmp(name, "freshclam.dat") == 0 &&
            fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size <= DAT_MAX);
}

/* Whether NAME has the hash that it had when it was sealed. */
static gboolean
is_whole(int dir, json_t *files, const char *name)
{
    const char *known = json_string_value(json_object_get(files, name));
    char sum[65] = "";
    int fd = known == NULL ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return FALSE;
    }
    gint64 size = signature_files_sum(fd, G_MAXINT64, sum);
    close(fd);
    return size > 0 && strcmp(sum, known) == 0;
}

/* Of libfreshclam's: a folder of files for each difference that it applies. */
static void
remove_tree(int dir, const char *name, guint depth)
{
    if (unlinkat(dir, name, 0) == 0 || depth == 0) {
        return;
    }
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    g_autoptr(GPtrArray) names = fd < 0 ? NULL : signature_files_all(fd);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        remove_tree(fd, g_ptr_array_index(names, i), depth - 1);
    }
    if (fd >= 0) {
        close(fd);
        (void)unlinkat(dir, name, AT_REMOVEDIR);
    }
}

static void
settle(int dir)
{
    int fd = openat(dir, WHOLE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    json_t *whole = fd < 0 ? NULL : json_file_read(fd, WHOLE_MAX);
    json_t *files = json_object_get(whole, "files");
    g_autoptr(GPtrArray) names = signature_files_all(dir);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (!is_kept(dir, name) && !is_whole(dir, files, name)) {
            remove_tree(dir, name, DEPTH);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    json_decref(whole);
}

int
source_open(const struct settings *settings, const char *name, char **error_r)
{
    g_autofree char *path = source_dir(settings, name);
    int fd = -1;
    int rc = g_mkdir_with_parents(path, 0755) < 0 ? -errno : 0;
    if (rc == 0) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        rc = fd < 0 ? -errno : 0;
    }
    if (rc == 0) {
        settle(fd);
        rc = mkdirat(fd, SOURCE_TMP, 0700) < 0 && errno != EEXIST ? -errno : 0;
    }
    if (rc < 0) {
        if (fd >= 0) {
            close(fd);
        }
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
        return rc;
    }
    return fd;
}

/* One that lacks something is not sealed: the next round removes it and fetches a CVD. */
static int
seal_file(int dir, const char *name, json_t *files)
{
    char sum[65] = "";
    g_autofree char *ignored = NULL;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    gint64 size = signature_files_sum(fd, G_MAXINT64, sum);
    int rc = size < 0 ? (int)size : fsync(fd) < 0 ? -errno : 0;
    int cut = cld_members_check(fd, name, name, &ignored);
    close(fd);
    if (rc == 0 && size > 0 && cut == 0) {
        json_object_set_new(files, name, json_string(sum));
    }
    return rc == -EINVAL ? 0 : rc; /* a directory */
}

/* A postern-fetch that was killed, or taken over, leaves what it likes. */
static void
remove_others(const struct source *source, int dir)
{
    g_autoptr(GPtrArray) names = signature_files_all(dir);
    g_autoptr(GPtrArray) own = g_ptr_array_new_with_free_func(g_free);
    for (char **file = source->files; *file != NULL; file++) {
        char *name = source_file(source, dir, *file);
        if (name != NULL) {
            g_ptr_array_add(own, name);
        }
    }
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (!is_kept(dir, name) &&
            !g_ptr_array_find_with_equal_func(own, name, g_str_equal, NULL)) {
            remove_tree(dir, name, DEPTH);
        }
    }
}

int
source_seal(const struct source *source, int fd)
{
    remove_others(source, fd);
    g_autoptr(GPtrArray) names = signature_files_all(fd);
    json_t *whole = json_pack("{s:{}}", "files");
    json_t *files = json_object_get(whole, "files");
    int rc = names == NULL ? -EIO : 0;
    for (guint i = 0; rc == 0 && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        rc = signature_files_is_name(name) ? seal_file(fd, name, files) : 0;
    }
    if (rc == 0 && fsync(fd) < 0) {
        rc = -errno;
    }
    char *text = json_dumps(whole, JSON_INDENT(2));
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    rc = rc < 0 ? rc : durable_write(fd, WHOLE, &iov, 1, 0644);
    free(text);
    json_decref(whole);
    return rc;
}

char *
source_file(const struct source *source, int fd, const char *file)
{
    /* As libfreshclam's currentdb(): it keeps only one, and of two takes the .cvd. */
    static const char *const endings[] = {".cvd", ".cld", NULL};
    if (source->url != NULL) {
        return faccessat(fd, file, R_OK, 0) == 0 ? g_strdup(file) : NULL;
    }
    for (const char *const *ending = endings; *ending != NULL; ending++) {
        g_autofree char *name = g_strconcat(file, *ending, NULL);
        if (faccessat(fd, name, R_OK, 0) == 0) {
            return g_steal_pointer(&name);
        }
    }
    return NULL;
}

void
sources_tidy(const struct settings *settings, GPtrArray *sources)
{
    g_autofree char *path = g_build_filename(settings->update_dir, "sources", NULL);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    g_autoptr(GPtrArray) names = dir < 0 ? NULL : signature_files_all(dir);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (source_find(sources, name) == NULL) {
            remove_tree(dir, name, DEPTH + 1);
        }
    }
    if (dir >= 0) {
        close(dir);
    }
}

guint64
source_bytes(const struct settings *settings, const struct source *source)
{
    g_autofree char *path = source_dir(settings, source->name);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    guint64 bytes = 0;
    for (char **file = source->files; dir >= 0 && *file != NULL; file++) {
        struct stat st;
        g_autofree char *name = source_file(source, dir, *file);
        if (name != NULL && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            bytes += (guint64)st.st_size;
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    return bytes;
}

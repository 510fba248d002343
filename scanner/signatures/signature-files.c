/* SPDX-License-Identifier: GPL-2.0-only */
#include "signature-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "text.h"

#define CHUNK (1024U * 1024U)

/* libclamav 1.4, CLI_DBEXT in readdb.h; its manual describes them. */
static const char *const extensions[] = {
    "cvd", "cld", "cud", "hdb", "hsb",  "hdu", "hsu", "mdb", "msb",  "mdu", "msu",  "ndb",  "ndu",
    "ldb", "ldu", "db",  "sdb", "zmd",  "rmd", "idb", "fp",  "sfp",  "pdb", "gdb",  "wdb",  "cbc",
    "ftm", "cfg", "cdb", "yar", "yara", "crb", "cat", "ign", "ign2", "imp", "pwdb", "info", "ioc",
};

gboolean
signature_files_is_loaded(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < G_N_ELEMENTS(extensions); i++) {
        if (g_ascii_strcasecmp(dot + 1, extensions[i]) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
signature_files_is_name(const char *name)
{
    return *name != '.' && signature_files_is_loaded(name);
}

const char *
signature_files_refusal(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (dot != NULL && g_ascii_strcasecmp(dot, ".cfg") == 0) {
        return "switches parts of the scanner off; only ClamAV's own databases may have such "
               "a file in them";
    }
    return dot != NULL && g_ascii_strcasecmp(dot, ".cud") == 0
               ? "nobody signed it, and it may switch parts of the scanner off; take the files in "
                 "it (sigtool --unpack)"
               : NULL;
}

static gboolean
is_signature_path(const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    return signature_files_is_name(name);
}

static void
file_free(void *p)
{
    struct signature_file *file = p;
    g_free(file->path);
    g_free(file->name);
    g_free(file);
}

static void
file_add(GPtrArray *files, const char *path)
{
    struct signature_file *file = g_new0(struct signature_file, 1);
    file->path = g_canonicalize_filename(path, NULL);
    file->name = g_path_get_basename(file->path);
    g_ptr_array_add(files, file);
}

GPtrArray *
signature_files_all(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    const struct dirent *entry;
    if (dir == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            g_ptr_array_add(names, g_strdup(entry->d_name));
        }
    }
    int error = errno;
    closedir(dir);
    errno = error;
    return error == 0 ? g_steal_pointer(&names) : NULL;
}

static char *
dir_add(GPtrArray *files, const char *path, const char *shown)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GPtrArray) names = fd < 0 ? NULL : signature_files_all(fd);
    int error = errno;
    guint before = files->len;
    if (fd >= 0) {
        close(fd);
    }
    if (names == NULL) {
        return g_strdup_printf("%s: %s", shown, g_strerror(error));
    }
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        if (signature_files_is_name(name)) {
            g_autofree char *file = g_build_filename(path, name, NULL);
            file_add(files, file);
        }
    }
    return files->len > before ? NULL : g_strdup_printf("%s has no signature files", shown);
}

/* Returns NULL, or what is wrong with PATH. */
static char *
path_add(GPtrArray *files, const char *path)
{
    g_autofree char *shown = text_escape(path, 1000);
    if (*path == '\0') {
        return g_strdup("an empty path names no signatures");
    }
    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return dir_add(files, path, shown);
    }
    if (access(path, R_OK) < 0) {
        return g_strdup_printf("%s: %s", shown, g_strerror(errno));
    }
    if (!is_signature_path(path)) {
        return g_strdup_printf("%s: not a signature file (its extension is none that libclamav "
                               "loads)",
                               shown);
    }
    file_add(files, path);
    return NULL;
}

static int
by_name(const void *a, const void *b)
{
    const struct signature_file *one = *(struct signature_file *const *)a;
    const struct signature_file *two = *(struct signature_file *const *)b;
    return strcmp(one->name, two->name);
}

static char *
find_twins(const GPtrArray *files)
{
    for (guint i = 1; i < files->len; i++) {
        const struct signature_file *one = g_ptr_array_index(files, i - 1);
        const struct signature_file *two = g_ptr_array_index(files, i);
        if (strcmp(one->name, two->name) == 0) {
            g_autofree char *a = text_escape(one->path, 1000);
            g_autofree char *b = text_escape(two->path, 1000);
            return g_strdup_printf("%s and %s have the same name; rename one", a, b);
        }
    }
    return NULL;
}

GPtrArray *
signature_files_find(char *const paths[], char **error_r)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(file_free);
    char *error = NULL;
    for (; *paths != NULL && error == NULL; paths++) {
        error = path_add(files, *paths);
    }
    g_ptr_array_sort(files, by_name);
    if (error == NULL) {
        error = find_twins(files);
    }
    if (error != NULL) {
        *error_r = error;
        return NULL;
    }
    return g_steal_pointer(&files);
}

gint64
signature_files_sum(int fd, guint64 limit, char sha256[65])
{
    g_autoptr(digest_t) sum = digest_new();
    g_autofree char *buffer = g_malloc(CHUNK);
    guint64 size = 0;
    struct stat st;
    ssize_t n;
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    while ((n = read(fd, buffer, CHUNK)) != 0) {
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        size += n < 0 ? 0 : (guint64)n;
        if (size > limit) {
            return -EFBIG;
        }
        digest_add(sum, buffer, (size_t)MAX(n, 0));
    }
    digest_end(sum, sha256);
    return (gint64)size;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "generation.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <glib.h>

#define CURRENT "current"

/* A name that stays inside the directory and reads well in a log. */
static bool
is_name(const char *name)
{
    if (*name == '\0' || *name == '.' || strlen(name) > 100) {
        return false;
    }
    for (const char *p = name; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr("._-+:", *p) == NULL) {
            return false;
        }
    }
    return true;
}

int
generation_resolve(const char *signatures_dir, struct generation *ret, char **error_r)
{
    g_autofree char *link = g_build_filename(signatures_dir, CURRENT, NULL);
    g_autoptr(GError) error = NULL;
    struct stat st;
    *ret = (struct generation){0};
    if (lstat(link, &st) < 0) {
        if (errno == ENOENT) {
            return 0;
        }
        int rc = -errno;
        *error_r = g_strdup_printf("%s: %s", link, g_strerror(-rc));
        return rc;
    }
    g_autofree char *target = g_file_read_link(link, &error);
    if (target == NULL) {
        *error_r = g_strdup_printf("%s: must be a symbolic link to a signature directory", link);
        return -EINVAL;
    }
    /* postern-update links relatively; an absolute link to a sibling is as good. */
    g_autofree char *parent = g_path_get_dirname(target);
    g_autofree char *name = g_path_get_basename(target);
    bool inside = strcmp(parent, ".") == 0 || strcmp(parent, signatures_dir) == 0;
    g_autofree char *path = g_build_filename(signatures_dir, name, NULL);
    if (!inside || !is_name(name)) {
        *error_r = g_strdup_printf("%s: must lead to a directory in %s", link, signatures_dir);
        return -EINVAL;
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        *error_r = g_strdup_printf("%s: leads to %s, which is no directory", link, path);
        return -ENOTDIR;
    }
    ret->name = g_steal_pointer(&name);
    ret->path = g_steal_pointer(&path);
    return 0;
}

void
generation_clear(struct generation *generation)
{
    g_clear_pointer(&generation->name, g_free);
    g_clear_pointer(&generation->path, g_free);
}

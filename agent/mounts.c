/* SPDX-License-Identifier: GPL-2.0-only */
#include "mounts.h"

#include <string.h>
#include <glib.h>

#define TABLE "/proc/self/mountinfo"
/* The mount point is the fifth word. */
#define POINT 4

/* Calls EACH with every mount point until it returns true. False when none did or the table cannot
 * be read, which *READ_R tells. */
typedef bool mount_each(const char *point, void *data);

static bool
mounts_foreach(mount_each *each, void *data, bool *read_r)
{
    g_autofree char *table = NULL;
    bool found = false;
    *read_r = g_file_get_contents(TABLE, &table, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(*read_r ? table : "", "\n", -1);
    for (char **line = lines; !found && *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", POINT + 2);
        if (g_strv_length(words) > POINT) {
            /* Spaces and the like are there as octal numbers. */
            g_autofree char *point = g_strcompress(words[POINT]);
            found = each(point, data);
        }
    }
    return found;
}

static bool
is_point(const char *point, void *data)
{
    return strcmp(point, data) == 0;
}

bool
mounts_has(const char *path)
{
    bool is_read = false;
    g_autofree char *wanted = g_strdup(path);
    return mounts_foreach(is_point, wanted, &is_read) || !is_read;
}

struct search {
    const char *path;
    char *best;
};

static bool
keep_longest(const char *point, void *data)
{
    struct search *search = data;
    size_t len = strlen(point);
    bool above = strncmp(search->path, point, len) == 0 &&
                 (search->path[len] == '/' || search->path[len] == '\0' || point[len - 1] == '/');
    if (above && (search->best == NULL || len >= strlen(search->best))) {
        g_free(search->best);
        search->best = g_strdup(point);
    }
    return false;
}

char *
mounts_of(const char *path)
{
    struct search search = {.path = path};
    bool is_read = false;
    (void)mounts_foreach(keep_longest, &search, &is_read);
    return search.best;
}

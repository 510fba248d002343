/* SPDX-License-Identifier: GPL-2.0-only */
#include "scan-walk.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scan_walk {
    char **next; /* path to go on with */
    const struct scan_walk_options *options;
    FTS *tree;      /* of the path before; NULL = done with it */
    gboolean noted; /* that the next path is a link has been said */
    guint directories;
};

static int
by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

struct scan_walk *
scan_walk_new(char **paths, const struct scan_walk_options *options)
{
    struct scan_walk *walk = g_new0(struct scan_walk, 1);
    walk->next = paths;
    walk->options = options;
    return walk;
}

void
scan_walk_free(struct scan_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    if (walk->tree != NULL) {
        fts_close(walk->tree);
    }
    g_free(walk);
}

guint
scan_walk_directories(const struct scan_walk *walk)
{
    return walk->directories;
}

void
scan_item_clear(struct scan_item *item)
{
    g_clear_pointer(&item->path, g_free);
    g_clear_pointer(&item->text, g_free);
    if (item->fd >= 0) {
        close(item->fd);
    }
    item->fd = -1;
}

static void
item_set(struct scan_item *item, enum scan_item_kind kind, const char *path, const char *text)
{
    item->kind = kind;
    item->path = g_strdup(path);
    item->text = g_strdup(text);
    item->fd = -1;
    item->size = 0;
}

/* O_NONBLOCK: a FIFO without a writer must not hold us. */
static void
item_open(struct scan_item *item, const char *path, const char *access_path)
{
    struct stat st;
    int fd = open(access_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        item_set(item, SCAN_ITEM_ERROR, path, g_strerror(errno));
    } else if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        item_set(item, SCAN_ITEM_ERROR, path, "not a regular file");
    } else {
        item_set(item, SCAN_ITEM_FILE, path, NULL);
        item->fd = fd;
        item->size = (guint64)st.st_size;
    }
}

static gboolean
is_excluded(const struct scan_walk *walk, const FTSENT *entry)
{
    char **patterns = walk->options->exclude;
    for (; patterns != NULL && *patterns != NULL; patterns++) {
        if (fnmatch(*patterns, entry->fts_path, 0) == 0 ||
            fnmatch(*patterns, entry->fts_name, 0) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static const char *
special_name(const FTSENT *entry)
{
    if (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE) {
        return "symbolic link";
    }
    switch (entry->fts_statp->st_mode & S_IFMT) {
    case S_IFIFO:
        return "FIFO";
    case S_IFSOCK:
        return "socket";
    default:
        return "device";
    }
}

/* What is named and cannot be scanned is an error; what lies in a directory is passed over. */
static gboolean
item_special(struct scan_item *item, const FTSENT *entry)
{
    if (entry->fts_level == FTS_ROOTLEVEL) {
        item_set(item, SCAN_ITEM_ERROR, entry->fts_path,
                 entry->fts_info == FTS_SLNONE ? "the link leads nowhere" : "not a regular file");
    } else {
        item_set(item, SCAN_ITEM_SKIPPED, entry->fts_path, special_name(entry));
    }
    return TRUE;
}

/* TRUE when ENTRY makes an item. */
static gboolean
item_of(struct scan_walk *walk, FTSENT *entry, struct scan_item *item)
{
    if (entry->fts_info != FTS_DP && is_excluded(walk, entry)) {
        (void)fts_set(walk->tree, entry, FTS_SKIP);
        item_set(item, SCAN_ITEM_SKIPPED, entry->fts_path, "excluded");
        return TRUE;
    }
    switch (entry->fts_info) {
    case FTS_D:
        walk->directories++;
        return FALSE;
    case FTS_F:
        item_open(item, entry->fts_path, entry->fts_accpath);
        return TRUE;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        item_set(item, SCAN_ITEM_ERROR, entry->fts_path, g_strerror(entry->fts_errno));
        return TRUE;
    case FTS_DC:
        item_set(item, SCAN_ITEM_SKIPPED, entry->fts_path, "a directory inside itself");
        return TRUE;
    case FTS_DEFAULT:
    case FTS_SL:
    case FTS_SLNONE:
        return item_special(item, entry);
    default:
        return FALSE;
    }
}

/* Says of a named link where it leads, before that is scanned. */
static gboolean
link_note(struct scan_walk *walk, const char *path, struct scan_item *item)
{
    g_autofree char *target = walk->noted ? NULL : g_file_read_link(path, NULL);
    walk->noted = target != NULL;
    if (target == NULL) {
        return FALSE;
    }
    g_autofree char *text = g_strdup_printf("a link that leads to %s", target);
    item_set(item, SCAN_ITEM_NOTE, path, text);
    return TRUE;
}

/* Begins with the next path; TRUE when that alone makes an item. */
static gboolean
path_begin(struct scan_walk *walk, struct scan_item *item)
{
    char *path = *walk->next;
    if (strcmp(path, "-") == 0) {
        walk->next++;
        item_set(item, SCAN_ITEM_FILE, "stdin", NULL);
        item->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        return TRUE;
    }
    if (link_note(walk, path, item)) {
        return TRUE;
    }
    walk->next++;
    char *const roots[] = {path, NULL};
    int flags = FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR;
    walk->tree = fts_open(roots, walk->options->same_device ? flags | FTS_XDEV : flags, by_name);
    if (walk->tree == NULL) {
        item_set(item, SCAN_ITEM_ERROR, path, g_strerror(errno));
    }
    return walk->tree == NULL;
}

gboolean
scan_walk_next(struct scan_walk *walk, struct scan_item *ret_item)
{
    while (walk->tree != NULL || *walk->next != NULL) {
        if (walk->tree == NULL) {
            if (path_begin(walk, ret_item)) {
                return TRUE;
            }
            continue;
        }
        FTSENT *entry = fts_read(walk->tree);
        if (entry == NULL) {
            fts_close(walk->tree);
            walk->tree = NULL;
        } else if (item_of(walk, entry, ret_item)) {
            return TRUE;
        }
    }
    return FALSE;
}

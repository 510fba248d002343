/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test made below a directory of its own goes again. For test programs only. */
#ifndef TEST_TREE_H
#define TEST_TREE_H

#include <glib.h>
#include <glib/gstdio.h>

/* Removes PATH and all below it; follows no link. What cannot go stays. */
static inline void
test_tree_remove(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        test_tree_remove(below);
    }
    g_clear_pointer(&dir, g_dir_close);
    (void)g_remove(path);
}

#endif

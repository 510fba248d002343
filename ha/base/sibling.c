/* SPDX-License-Identifier: GPL-2.0-only */
#include "sibling.h"

#include <unistd.h>
#include <glib.h>

char *
sibling_program(const char *name)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self != NULL ? g_path_get_dirname(self) : g_strdup("/");
    g_autofree char *beside = g_build_filename(dir, name, NULL);
    return access(beside, X_OK) == 0 ? g_steal_pointer(&beside)
                                     : g_build_filename(LIBEXECDIR, name, NULL);
}

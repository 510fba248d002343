/* SPDX-License-Identifier: GPL-2.0-only */
#include "manifest.h"

#include <jansson.h>

gint64
manifest_newest(const char *signatures_dir)
{
    g_autofree char *path = g_build_filename(signatures_dir, "current", "manifest.json", NULL);
    json_t *manifest = json_load_file(path, 0, NULL);
    gint64 newest = 0;
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(manifest, "files"), i, file)
    {
        newest = MAX(newest, json_integer_value(json_object_get(file, "time")));
    }
    json_decref(manifest);
    return newest;
}

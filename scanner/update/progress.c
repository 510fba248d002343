/* SPDX-License-Identifier: GPL-2.0-only */
#include "progress.h"

#include <stdlib.h>
#include <string.h>

#include "durable.h"
#include "json-file.h"
#include "update-files.h"

#define PROGRESS_MAX (1024 * 1024)

static char *
path_of(const struct settings *settings)
{
    return g_build_filename(settings->update_dir, STATUS_FILE, NULL);
}

json_t *
progress_load(const struct settings *settings)
{
    g_autofree char *path = path_of(settings);
    json_t *progress = json_file_load(path, PROGRESS_MAX);
    if (!json_is_object(progress)) {
        json_decref(progress);
        progress = json_object();
    }
    return progress;
}

int
progress_save(const struct settings *settings, json_t *progress)
{
    g_autofree char *path = path_of(settings);
    char *text = json_dumps(progress, JSON_INDENT(2));
    int rc = durable_keep_text(path, text, 0644);
    free(text);
    return rc;
}

json_t *
progress_source(json_t *progress, const char *name)
{
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(progress, "sources"), i, source)
    {
        if (g_strcmp0(json_string_value(json_object_get(source, "name")), name) == 0) {
            return source;
        }
    }
    return NULL;
}

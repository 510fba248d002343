/* SPDX-License-Identifier: GPL-2.0-only */
#include "node-list.h"

#include "tool.h"

#define LIST_MS 20000

/* Lines of "ID NAME STATE". */
char **
node_list(char **error_r)
{
    static const char *const argv[] = {TOOL_CRM_NODE, "-l", NULL};
    g_autofree char *text = NULL;
    g_autofree char *why = NULL;
    if (tool_output(argv, NULL, NULL, LIST_MS, &text, &why) != 0) {
        *error_r = g_strdup_printf("the cluster does not answer on this node: %s", why);
        return NULL;
    }
    GPtrArray *names = g_ptr_array_new();
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);
        if (g_strv_length(words) >= 2 && *words[1] != '\0') {
            g_ptr_array_add(names, g_strdup(words[1]));
        }
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

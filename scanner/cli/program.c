/* SPDX-License-Identifier: GPL-2.0-only */
#include "program.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

/* An administrator's PATH need not have the daemons' tools. */
static char *
find(const char *name)
{
    static const char *const directories[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};
    char *path = g_find_program_in_path(name);
    for (size_t i = 0; path == NULL && i < G_N_ELEMENTS(directories); i++) {
        g_autofree char *there = g_build_filename(directories[i], name, NULL);
        if (g_file_test(there, G_FILE_TEST_IS_EXECUTABLE)) {
            path = g_steal_pointer(&there);
        }
    }
    return path;
}

static char *
last_line(char *text)
{
    g_strchomp(text);
    const char *line = strrchr(text, '\n');
    return text_escape(line == NULL ? text : line + 1, 300);
}

char *
program_output(const char *const argv[], char **error_r)
{
    g_autofree char *path = find(argv[0]);
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_autoptr(GError) error = NULL;
    int status;
    if (path == NULL) {
        *error_r = g_strdup_printf("%s is not installed", argv[0]);
        return NULL;
    }
    g_autofree char **words = g_new0(char *, g_strv_length((char **)(uintptr_t)argv) + 1);
    words[0] = path;
    for (size_t i = 1; argv[i] != NULL; i++) {
        words[i] = (char *)(uintptr_t)argv[i];
    }
    if (!g_spawn_sync(NULL, words, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status,
                      &error)) {
        *error_r = g_strdup_printf("%s cannot be run: %s", argv[0], error->message);
        return NULL;
    }
    if (!g_spawn_check_wait_status(status, &error)) {
        g_autofree char *said = last_line(err);
        *error_r = g_strdup_printf("%s failed: %s", argv[0], *said == '\0' ? error->message : said);
        return NULL;
    }
    return g_steal_pointer(&out);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"
#include "remote.h"
#include "text.h"

#define COMMAND_S 60
#define MILTER_S 180

/* "directory postern postern 700" */
void
nodes_check_state_dir(const char *node, const char *dir, gboolean *missing_r, GPtrArray *refusals)
{
    const char *const argv[] = {"stat", "-c", "%F %U %a", "--", dir, NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    *missing_r = FALSE;
    int rc = remote_run(node, argv, NULL, COMMAND_S, &output, &error);
    if (rc < 0) {
        remark(refusals, node, "look there whether state_dir belongs to user postern",
               "state_dir %s could not be looked at: %s", dir, error);
        return;
    }
    if (rc > 0) {
        *missing_r = TRUE;
        return;
    }
    g_strchomp(output);
    if (!g_str_has_prefix(output, "directory postern ")) {
        g_autofree char *line = nodes_state_dir_line(dir);
        g_autofree char *todo = g_strdup_printf("on %s: %s", node, line);
        refuse(refusals, dir, todo, "state_dir is a %s, not a directory of user postern", output);
    }
}

#define MAKE_STATE_DIR "install", "-d", "-o", "postern", "-g", "postern", "-m", "0700"

char *
nodes_state_dir_line(const char *dir)
{
    const char *const argv[] = {MAKE_STATE_DIR, dir, NULL};
    return remote_command_text(argv);
}

int
nodes_make_state_dir(const char *node, const char *dir, int format, char **error_r)
{
    const char *const argv[] = {MAKE_STATE_DIR, "--", dir, NULL};
    g_autofree char *path = g_build_filename(dir, FORMAT_NAME, NULL);
    const char *const tell[] = {"tee", "--", path, NULL};
    g_autofree char *text = g_strdup_printf("%d\n", format);
    g_autofree char *output = NULL;
    g_autofree char *echo = NULL;
    int rc = remote_run(node, argv, NULL, COMMAND_S, &output, error_r);
    if (rc == 0 && format > FORMAT_OLDEST) {
        rc = remote_run(node, tell, text, COMMAND_S, &echo, error_r);
    }
    return rc > 0 ? -EREMOTEIO : rc;
}

void
nodes_drop_state_dir(const char *node, const char *dir)
{
    g_autofree char *path = g_build_filename(dir, FORMAT_NAME, NULL);
    g_autofree char *database = g_build_filename(dir, "state.db", NULL);
    const char *const used[] = {"test", "-e", database, NULL};
    const char *const rm[] = {"rm", "-f", "--", path, NULL};
    const char *const argv[] = {"rmdir", "--", dir, NULL};
    g_autofree char *output[3] = {NULL, NULL, NULL};
    g_autofree char *error[3] = {NULL, NULL, NULL};
    if (remote_run(node, used, NULL, COMMAND_S, &output[0], &error[0]) != 0) {
        (void)remote_run(node, rm, NULL, COMMAND_S, &output[1], &error[1]);
        (void)remote_run(node, argv, NULL, COMMAND_S, &output[2], &error[2]);
    }
}

/* A .cvd is compressed. */
#define MEMORY_PER_BYTE 2
#define MEMORY_PER_COMPRESSED 6
#define MEMORY_BASE (64ULL << 20)

guint64
nodes_signature_memory(const char *dir)
{
    guint64 need = 0;
    const char *name;
    g_autofree char *current = g_build_filename(dir, "current", NULL);
    g_autoptr(GDir) files = g_dir_open(current, 0, NULL);
    while (files != NULL && (name = g_dir_read_name(files)) != NULL) {
        struct stat st;
        g_autofree char *path = g_build_filename(current, name, NULL);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            need += (guint64)st.st_size *
                    (g_str_has_suffix(name, ".cvd") ? MEMORY_PER_COMPRESSED : MEMORY_PER_BYTE);
        }
    }
    return need == 0 ? 0 : need + MEMORY_BASE;
}

static const char *const verbs[] = {[NODES_ENABLE] = "enable", [NODES_DISABLE] = "disable"};

char *
nodes_milter_line(enum nodes_milter what, const char *config, const GPtrArray *dirs)
{
    const char *const argv[] = {"postern", "cluster", "node", "milter", verbs[what], NULL};
    g_autoptr(GPtrArray) words = remote_words(argv, config, dirs);
    return remote_command_text((const char *const *)words->pdata);
}

static void
print_indented(const char *node, const char *output)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_autofree char *safe = text_escape(*line, 1000);
        if (**line != '\0') {
            printf("     %s: %s\n", node, safe);
        }
    }
}

/* 1: done, and there is something for a person to look at, which was printed. */
static int
milter_one(const char *node, const char *const argv[], gboolean quiet, char **error_r)
{
    g_autofree char *output = NULL;
    int rc = remote_run(node, argv, NULL, MILTER_S, &output, error_r);
    if (output != NULL && !quiet) {
        print_indented(node, output);
    }
    if (rc == 1) {
        g_clear_pointer(error_r, g_free);
    }
    return rc > 1 ? -EREMOTEIO : MIN(rc, 0);
}

int
nodes_milter(enum nodes_milter what, const GPtrArray *nodes, const char *config,
             const GPtrArray *dirs, gboolean dry_run, gboolean quiet, char **error_r)
{
    const char *const argv[] = {
        "postern", "cluster", "node", "milter", verbs[what], dry_run ? "--dry-run" : "--yes", NULL};
    g_autoptr(GPtrArray) words = remote_words(argv, config, dirs);
    int first = 0;
    for (guint i = 0; i < nodes->len && (first == 0 || what == NODES_DISABLE); i++) {
        g_autofree char *error = NULL;
        int rc = milter_one(g_ptr_array_index(nodes, i), (const char *const *)words->pdata, quiet,
                            &error);
        if (rc < 0 && first == 0) {
            first = rc;
            *error_r = g_steal_pointer(&error);
        }
    }
    return first;
}

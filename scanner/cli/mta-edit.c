/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta-edit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utime.h>

#include "program.h"

struct mta_edit {
    char *dir;
    struct mta_files original;
};

void
mta_files_clear(struct mta_files *files)
{
    g_clear_pointer(&files->main, g_free);
    g_clear_pointer(&files->master, g_free);
}

gboolean
mta_files_equal(const struct mta_files *a, const struct mta_files *b)
{
    return strcmp(a->main, b->main) == 0 && strcmp(a->master, b->master) == 0;
}

/*
 * Postfix reads a file of this very second again and again until it is older, lest it sees half of
 * it: that is a second or two for each run of postconf. Nobody else writes here.
 */
static void
make_old(const struct mta_edit *edit)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(edit->dir, names[i], NULL);
        const struct utimbuf epoch = {0};
        (void)utime(path, &epoch);
    }
}

/* postconf 3.7 joins what it adds to a last line that has no end. */
static gboolean
put(const struct mta_edit *edit, const char *name, const char *text, char **error_r)
{
    g_autofree char *path = g_build_filename(edit->dir, name, NULL);
    g_autofree char *ended = g_strconcat(text, g_str_has_suffix(text, "\n") ? "" : "\n", NULL);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, ended, -1, &error)) {
        *error_r = g_strdup_printf("no copy of %s can be made: %s", name, error->message);
        return FALSE;
    }
    return TRUE;
}

struct mta_edit *
mta_edit_open(const struct mta_files *files, char **error_r)
{
    g_autoptr(GError) error = NULL;
    char *dir = g_dir_make_tmp("postern-mta-XXXXXX", &error);
    if (dir == NULL) {
        *error_r = g_strdup_printf("there is no room for a copy: %s", error->message);
        return NULL;
    }
    struct mta_edit *edit = g_new0(struct mta_edit, 1);
    edit->dir = dir;
    edit->original.main = g_strdup(files->main);
    edit->original.master = g_strdup(files->master);
    if (!put(edit, "main.cf", files->main, error_r) ||
        !put(edit, "master.cf", files->master, error_r)) {
        mta_edit_close(edit);
        return NULL;
    }
    make_old(edit);
    return edit;
}

void
mta_edit_close(struct mta_edit *edit)
{
    if (edit == NULL) {
        return;
    }
    g_autoptr(GDir) dir = g_dir_open(edit->dir, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(edit->dir, name, NULL);
        (void)unlink(path);
    }
    (void)rmdir(edit->dir);
    mta_files_clear(&edit->original);
    g_free(edit->dir);
    g_free(edit);
}

static gboolean
postconf(const struct mta_edit *edit, const char *flags, const char *what, char **error_r)
{
    const char *const argv[] = {"postconf", "-c", edit->dir, flags, what, NULL};
    g_autofree char *text = program_output(argv, error_r);
    make_old(edit);
    return text != NULL;
}

gboolean
mta_edit_main(struct mta_edit *edit, const char *name, const char *value, char **error_r)
{
    g_autofree char *setting = g_strdup_printf("%s=%s", name, value == NULL ? "" : value);
    return postconf(edit, value == NULL ? "-X" : "-e", value == NULL ? name : setting, error_r);
}

gboolean
mta_edit_override(struct mta_edit *edit, const char *service, const char *name, const char *value,
                  char **error_r)
{
    g_autofree char *what = value == NULL ? g_strdup_printf("%s/%s", service, name)
                                          : g_strdup_printf("%s/%s=%s", service, name, value);
    return postconf(edit, value == NULL ? "-PX" : "-P", what, error_r);
}

gboolean
mta_edit_service(struct mta_edit *edit, const char *service, const char *line, char **error_r)
{
    g_autofree char *what =
        line == NULL ? g_strdup(service) : g_strdup_printf("%s=%s", service, line);
    return postconf(edit, line == NULL ? "-MX" : "-M", what, error_r);
}

char *
mta_edit_get(const struct mta_edit *edit, const char *service, const char *name, char **error_r)
{
    g_autofree char *what =
        service == NULL ? g_strdup(name) : g_strdup_printf("%s/%s", service, name);
    const char *const argv[] = {"postconf", "-c", edit->dir, service == NULL ? "-h" : "-Ph",
                                what,       NULL};
    char *text = program_output(argv, error_r);
    return text == NULL ? NULL : g_strchomp(text);
}

gboolean
mta_edit_is_set(const struct mta_edit *edit, const char *name)
{
    const char *const argv[] = {"postconf", "-c", edit->dir, "-n", name, NULL};
    g_autofree char *error = NULL;
    g_autofree char *text = program_output(argv, &error);
    return text != NULL && *text != '\0';
}

GPtrArray *
mta_edit_instance(const struct mta_edit *edit, char **error_r)
{
    return postfix_instances(edit->dir, error_r);
}

/* Where nothing was edited the end of the last line stays as it was, too. */
static void
keep_end(char **text, const char *original)
{
    size_t length = strlen(original);
    if (strncmp(*text, original, length) == 0 && strcmp(*text + length, "\n") == 0) {
        (*text)[length] = '\0';
    }
}

gboolean
mta_edit_take(const struct mta_edit *edit, struct mta_files *files, char **error_r)
{
    g_autofree char *main_cf = g_build_filename(edit->dir, "main.cf", NULL);
    g_autofree char *master_cf = g_build_filename(edit->dir, "master.cf", NULL);
    g_autoptr(GError) error = NULL;
    *files = (struct mta_files){0};
    if (!g_file_get_contents(main_cf, &files->main, NULL, &error) ||
        !g_file_get_contents(master_cf, &files->master, NULL, &error)) {
        *error_r = g_strdup_printf("the edited copy cannot be read: %s", error->message);
        mta_files_clear(files);
        return FALSE;
    }
    keep_end(&files->main, edit->original.main);
    keep_end(&files->master, edit->original.master);
    return TRUE;
}

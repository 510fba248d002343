/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "nearest.h"
#include "text.h"

int
cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c) && *c != '\n') {
            *c = '?';
        }
    }
    fprintf(stderr, "postern: %s\n", text);
    return CLI_ERROR;
}

static void
add_common(GOptionContext *context, struct cli *cli)
{
    const GOptionEntry common[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &cli->config, "Configuration (" SETTINGS_PATH ")",
         "FILE"},
        {"dir", 0, 0, G_OPTION_ARG_FILENAME, &cli->dir, "A private instance: DIR/postern.conf",
         "DIR"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &cli->json, "Print JSON", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &cli->version, "Print the version", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_option_context_add_main_entries(context, common, NULL);
}

/* Of ENTRIES and the common options, the one that was most likely meant by an unknown one. */
static const char *
nearest_option(const GOptionEntry *entries, char **argv)
{
    static const char *const common[] = {"config", "dir", "json", "version", "help"};
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (; entries != NULL && entries->long_name != NULL; entries++) {
        g_ptr_array_add(names, (void *)(uintptr_t)entries->long_name);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(common); i++) {
        g_ptr_array_add(names, (void *)(uintptr_t)common[i]);
    }
    g_ptr_array_add(names, NULL);
    for (char **word = argv + 1; *word != NULL && strcmp(*word, "--") != 0; word++) {
        g_autofree char *name =
            g_str_has_prefix(*word, "--") ? g_strndup(*word + 2, strcspn(*word + 2, "=")) : NULL;
        if (name != NULL && !g_strv_contains((const char *const *)names->pdata, name)) {
            return nearest_name(name, (const char *const *)names->pdata);
        }
    }
    return NULL;
}

/* GOption has taken words out of ARGV before it met the wrong one, so BEFORE has them all. */
static void
say_wrong(const GError *error, const GOptionEntry *entries, char **before)
{
    g_autofree char *what = text_escape(error->message, 200);
    const char *nearest = g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION)
                              ? nearest_option(entries, before)
                              : NULL;
    if (nearest != NULL) {
        cli_fail("%s; did you mean --%s?", what, nearest);
    } else {
        cli_fail("%s; try `%s --help`", what, g_get_prgname());
    }
}

static gboolean
parse(struct cli *cli, GOptionContext *context, const GOptionEntry *entries, const char *summary,
      int *argc, char ***argv)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) before = g_strdupv(*argv);
    g_option_context_set_summary(context, summary);
    add_common(context, cli);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        say_wrong(error, entries, before);
        return FALSE;
    }
    if (cli->config != NULL && cli->dir != NULL) {
        cli_fail("--config and --dir exclude each other");
        return FALSE;
    }
    return TRUE;
}

gboolean
cli_options(struct cli *cli, const GOptionEntry *entries, const char *usage, const char *summary,
            int *argc, char ***argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    if (entries != NULL) {
        g_option_context_add_main_entries(context, entries, NULL);
    }
    if (!parse(cli, context, entries, summary, argc, argv)) {
        return FALSE;
    }
    if (*usage == '\0' && *argc > 1) {
        g_autofree char *shown = text_escape((*argv)[1], 40);
        cli_fail("%s: there is nothing to be named here", shown);
        return FALSE;
    }
    return TRUE;
}

gboolean
cli_first_options(struct cli *cli, const char *summary, int *argc, char ***argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("COMMAND [ARGUMENT...]");
    g_option_context_set_strict_posix(context, TRUE);
    return parse(cli, context, NULL, summary, argc, argv);
}

char *
cli_command_list(const struct cli_command *commands, size_t n)
{
    GString *text = g_string_new("Commands:");
    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(text, "\n  %-12s %s", commands[i].name, commands[i].summary);
    }
    return g_string_free(text, FALSE);
}

/* The command becomes part of the program's name, which its --help shows. */
static int
run(struct cli *cli, const struct cli_command *command, int argc, char **argv)
{
    g_autofree char *name = g_strdup_printf("%s %s", g_get_prgname(), command->name);
    g_set_prgname(name);
    return command->run(cli, argc, argv);
}

int
cli_dispatch(struct cli *cli, const struct cli_command *commands, size_t n, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (g_strcmp0(name, "--help") == 0 || g_strcmp0(name, "-h") == 0) {
        g_autofree char *list = cli_command_list(commands, n);
        printf("Usage:\n  %s COMMAND [ARGUMENT...]\n\n%s\n", g_get_prgname(), list);
        return CLI_OK;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (size_t i = 0; i < n; i++) {
        if (name != NULL && strcmp(commands[i].name, name) == 0) {
            return run(cli, &commands[i], argc - 1, argv + 1);
        }
        g_ptr_array_add(names, (void *)(uintptr_t)commands[i].name);
    }
    g_ptr_array_add(names, NULL);
    if (name == NULL) {
        g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
        return cli_fail("a command is missing: one of %s", all);
    }
    g_autofree char *shown = text_escape(name, 40);
    const char *nearest = nearest_name(name, (const char *const *)names->pdata);
    if (nearest != NULL) {
        return cli_fail("unknown command %s; did you mean %s?", shown, nearest);
    }
    return cli_fail("unknown command %s; try `postern --help`", shown);
}

char *
cli_config_path(const struct cli *cli)
{
    return cli->dir != NULL ? g_build_filename(cli->dir, "postern.conf", NULL)
                            : g_strdup(cli->config);
}

const struct settings *
cli_settings(struct cli *cli)
{
    if (cli->settings == NULL) {
        g_autofree char *path = cli_config_path(cli);
        g_autofree char *error = NULL;
        cli->settings = settings_load(path, &error);
        if (cli->settings == NULL) {
            cli_fail("%s", error);
        }
    }
    return cli->settings;
}

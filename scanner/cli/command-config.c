/* SPDX-License-Identifier: GPL-2.0-only */
/* postern config show|check */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <jansson.h>

#include "text.h"

/* A size is printed in bytes but preset with a suffix. */
static gboolean
is_preset(const char *value, const char *preset)
{
    unsigned long long bytes;
    g_autofree char *same = NULL;
    if (g_strcmp0(value, preset) == 0) {
        return TRUE;
    }
    if (preset == NULL || text_size_parse(preset, &bytes) < 0) {
        return FALSE;
    }
    same = g_strdup_printf("%llu", bytes);
    return strcmp(value, same) == 0;
}

static void
show_text(const char *name, const char *value, const char *preset, const char *text, void *data)
{
    (void)text;
    (void)data;
    gboolean same = is_preset(value, preset);
    printf("%s = %s%s\n", name, same ? preset : value, same ? "    (default)" : "");
}

static void
show_json(const char *name, const char *value, const char *preset, const char *text, void *data)
{
    json_t *object = data;
    json_object_set_new(
        object, name,
        json_pack("{s:s, s:s*, s:s}", "value", value, "default", preset, "description", text));
}

static int
show(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Prints every setting and its value.", &argc, &argv)) {
        return CLI_ERROR;
    }
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return CLI_ERROR;
    }
    if (!cli->json) {
        settings_foreach(settings, show_text, NULL);
        return CLI_OK;
    }
    json_t *object = json_object();
    settings_foreach(settings, show_json, object);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
    return CLI_OK;
}

static int
check(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    if (!cli_options(cli, NULL, "[FILE]", "Says whether a configuration is correct.", &argc,
                     &argv)) {
        return CLI_ERROR;
    }
    g_autofree char *path = argc > 1 ? g_strdup(argv[1]) : cli_config_path(cli);
    g_autoptr(settings_t) settings = settings_load(path, &error);
    if (settings == NULL) {
        return cli_fail("%s", error);
    }
    printf("%s is correct\n", path == NULL ? SETTINGS_PATH : path);
    return CLI_OK;
}

int
cli_config(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"show", "Print every setting", show},
        {"check", "Check a configuration", check},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}

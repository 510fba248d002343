/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures add */
#include "cli.h"

#include <stdio.h>
#include <jansson.h>

#include "generation.h"
#include "terminal.h"

static void
print_json(const struct generation *made)
{
    json_t *object =
        json_pack("{s:s, s:i, s:I, s:b}", "generation", made->name, "files", (int)made->files,
                  "bytes", (json_int_t)made->bytes, "new", !made->existed);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static int
add(struct cli *cli, int argc, char **argv)
{
    struct generation made;
    g_autofree char *error = NULL;
    if (!cli_options(cli, NULL, "PATH...",
                     "Makes a generation of the signature files and directories and selects it.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc < 2) {
        return cli_fail("signatures add needs a signature file or a directory of them");
    }
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return CLI_ERROR;
    }
    if (generation_add(settings->signatures_dir, argv + 1, &made, &error) < 0) {
        return cli_fail("%s", error);
    }
    if (cli->json) {
        print_json(&made);
        return CLI_OK;
    }
    g_autofree char *size = terminal_size(made.bytes);
    printf("Generation %s (%u file(s), %s) %s. postern-engine loads it when it starts next.\n",
           made.name, made.files, size,
           made.existed ? "was there already and is current" : "is current");
    return CLI_OK;
}

int
cli_signatures(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"add", "Install signatures on this node", add},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}

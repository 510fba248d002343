/* SPDX-License-Identifier: GPL-2.0-only */
/* postern, the administrator's command: postern(1). */
#include "config.h"

#include <locale.h>
#include <stdio.h>

#include "cli.h"

static int help(struct cli *cli, int argc, char **argv);

static const struct cli_command commands[] = {
    {"status", "What this node's scanner does now", cli_status},
    {"scan", "Scan files and directories", cli_scan},
    {"quarantine", "list, show, export, release, delete: what was kept", cli_quarantine},
    {"incidents", "What was found, what failed, who did what", cli_incidents},
    {"top", "What passes now, and who sends it", cli_top},
    {"doctor", "Look for ways in which mail could pass unscanned", cli_doctor},
    {"prove", "Join the mail server's log with Postern's", cli_prove},
    {"cluster", "setup, remove: the scanner in a Pacemaker cluster", cli_cluster},
    {"config", "show, check: the configuration", cli_config},
    {"signatures", "add: install signatures on this node", cli_signatures},
    {"help", "Help for a command: help COMMAND...", help},
};

/* "help quarantine show" is "quarantine show --help". */
static int
help(struct cli *cli, int argc, char **argv)
{
    static char name[] = "postern";
    static char option[] = "--help";
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, name);
    for (int i = 1; i < argc; i++) {
        g_ptr_array_add(words, argv[i]);
    }
    g_ptr_array_add(words, option);
    g_ptr_array_add(words, NULL);
    g_set_prgname(name);
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), (int)words->len - 1,
                        (char **)words->pdata);
}

static char *
summary(void)
{
    g_autofree char *list = cli_command_list(commands, G_N_ELEMENTS(commands));
    return g_strconcat("Postern, the mail virus scanner.\n\n", list, NULL);
}

int
main(int argc, char **argv)
{
    struct cli cli = {0};
    int rc = CLI_ERROR;
    setlocale(LC_ALL, "");
    g_set_prgname("postern");
    g_autofree char *text = summary();
    if (cli_first_options(&cli, text, &argc, &argv)) {
        if (cli.version) {
            printf("postern %s\n", PACKAGE_VERSION);
            rc = CLI_OK;
        } else {
            rc = cli_dispatch(&cli, commands, G_N_ELEMENTS(commands), argc, argv);
        }
    }
    settings_free(cli.settings);
    g_free(cli.config);
    g_free(cli.dir);
    /* What could not be written was not said: a full disk must not look like "clean". */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return cli_fail("the output could not be written");
    }
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLI_H
#define CLI_H

/*
 * What the commands of postern share: the common options, the settings, and how to say that
 * something went wrong. A command is a function that gets its own name as argv[0] and returns the
 * exit status.
 */

#include <glib.h>

#include "settings.h"

/* As clamscan's. */
enum cli_exit {
    CLI_OK = 0,    /* all is well; clean */
    CLI_FOUND = 1, /* something found, or not ready */
    CLI_ERROR = 2, /* it could not be done */
};

struct cli {
    char *config;
    char *dir;
    gboolean json;
    gboolean version;
    struct settings *settings; /* NULL until cli_settings() */
};

struct cli_command {
    const char *name;
    const char *summary;
    int (*run)(struct cli *cli, int argc, char **argv);
};

/*
 * Parses the options of a command: ENTRIES (may be NULL) and the common ones, which may stand
 * before and after a command. USAGE is what follows the command's name; when it is empty, arguments
 * are refused, else they stay in *ARGC/ARGV. Returns FALSE when something is wrong, and has said
 * so.
 */
gboolean cli_options(struct cli *cli, const GOptionEntry *entries, const char *usage,
                     const char *summary, int *argc, char ***argv);

/* The options before the command: the common ones, up to the first argument that is none. */
gboolean cli_first_options(struct cli *cli, const char *summary, int *argc, char ***argv);

/* "Commands:" and a line for each; to be freed by g_free(). */
char *cli_command_list(const struct cli_command *commands, size_t n);

/* Runs the one of the N commands that argv[1] names, or lists them for --help; says so when there
 * is none. */
int cli_dispatch(struct cli *cli, const struct cli_command *commands, size_t n, int argc,
                 char **argv);

/* The settings, read at the first call; NULL after a message to the user. Borrowed. */
const struct settings *cli_settings(struct cli *cli);
/* The configuration file that the options name; NULL = the default. To be freed by g_free(). */
char *cli_config_path(const struct cli *cli);

/* "postern: ..." on stderr, without control characters (what is put into FORMAT may come from
 * another node); returns CLI_ERROR. */
int cli_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);

int cli_status(struct cli *cli, int argc, char **argv);
int cli_scan(struct cli *cli, int argc, char **argv);
int cli_quarantine(struct cli *cli, int argc, char **argv);
int cli_incidents(struct cli *cli, int argc, char **argv);
int cli_top(struct cli *cli, int argc, char **argv);
int cli_doctor(struct cli *cli, int argc, char **argv);
int cli_prove(struct cli *cli, int argc, char **argv);
int cli_cluster(struct cli *cli, int argc, char **argv);
int cli_config(struct cli *cli, int argc, char **argv);
int cli_signatures(struct cli *cli, int argc, char **argv);

#endif

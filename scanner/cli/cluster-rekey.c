/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster rekey: a new key by which the nodes give each other signatures. */
#include "cluster-commands.h"

#include <stdio.h>
#include <unistd.h>
#include <jansson.h>

#include "cluster-carry.h"
#include "cluster-peers.h"
#include "diff.h"
#include "rings.h"
#include "text.h"
#include "turn.h"

static GPtrArray *
all_nodes(char **error_r)
{
    g_autoptr(GPtrArray) rings = rings_read(error_r);
    GPtrArray *names = rings == NULL ? NULL : g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; rings != NULL && i < rings->len; i++) {
        const struct ring_node *node = g_ptr_array_index(rings, i);
        g_ptr_array_add(names, g_strdup(node->name));
    }
    return names;
}

static gboolean
confirm(const struct cli *cli, gboolean yes)
{
    if (yes) {
        return TRUE;
    }
    if (cli->json || !isatty(STDIN_FILENO)) {
        cli_fail("nobody can be asked: --yes says that you mean it");
        return FALSE;
    }
    return diff_confirm("Make a new key, and write it on every node?");
}

static int
run(struct cli *cli, const char *config)
{
    g_autofree char *error = NULL;
    int turn = turn_take(TURN_PATH, "rekey", &error);
    if (turn < 0) {
        return cli_fail("%s", error);
    }
    carry_hold_signals();
    g_autoptr(GPtrArray) nodes = all_nodes(&error);
    int rc = nodes == NULL ? -1 : cluster_peers_give(cli, nodes, config, TRUE, &error);
    turn_end(turn);
    if (cli->json) {
        json_t *result = json_pack("{s:b, s:s?}", "changed", rc == 0, "error", error);
        json_dumpf(result, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(result);
    }
    if (rc < 0) {
        return cli_fail("%s%s", error,
                        nodes == NULL
                            ? ""
                            : "; what was reached takes the old key and the new one until "
                              "`postern cluster rekey` reaches every node");
    }
    if (!cli->json) {
        printf("%u nodes have a new key.\n", nodes->len);
    }
    return CLI_OK;
}

int
cluster_rekey(struct cli *cli, int argc, char **argv)
{
    gboolean yes = FALSE;
    const GOptionEntry entries[] = {
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "",
                     "Makes a new key by which the nodes give each other signatures, and tells all "
                     "of them.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    g_autofree char *named = cli_config_path(cli);
    g_autofree char *config = named == NULL ? NULL : g_canonicalize_filename(named, NULL);
    return confirm(cli, yes) ? run(cli, config) : CLI_FOUND;
}

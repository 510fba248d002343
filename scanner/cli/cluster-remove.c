/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster remove */
#include "cluster-commands.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cluster-carry.h"
#include "cluster-nodes.h"
#include "cluster-peers.h"
#include "cluster-view.h"
#include "commit.h"
#include "diff.h"
#include "nodecheck.h"
#include "remote.h"
#include "text.h"
#include "turn.h"

#define BACKUP_DIR "/var/lib/postern/backup"
#define TRIES 3

struct removal {
    struct cli *cli;
    char *group;
    gboolean dry_run;
    gboolean yes;
    gboolean no_ssh;
    gboolean no_milter;
    gboolean asked;
    char *config; /* of --config, NULL = the default */
    int turn;     /* turn_take() */
    /* of one try */
    struct model *model;
    struct plan *plan;
    struct rehearsal rehearsal;
    GPtrArray *refusals;
    GPtrArray *extra;
    GPtrArray *nodes; /* names (char *) on which the milter is disabled */
    json_t *result;
};

static void
try_clear(struct removal *removal)
{
    g_clear_pointer(&removal->model, model_free);
    g_clear_pointer(&removal->plan, plan_free);
    rehearsal_clear(&removal->rehearsal);
    g_clear_pointer(&removal->refusals, g_ptr_array_unref);
    g_clear_pointer(&removal->extra, g_ptr_array_unref);
    g_clear_pointer(&removal->nodes, g_ptr_array_unref);
    json_decref(removal->result);
    removal->result = NULL;
}

/* Nodes that have Postfix; who is not asked has to be done by a person. */
static void
list_nodes(struct removal *removal)
{
    const struct model *model = removal->model;
    g_autofree char *line =
        nodes_milter_line(NODES_DISABLE, removal->config, removal->model->postfix_dirs);
    for (guint i = 0; i < model->nodes->len && !removal->no_milter; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (!node->member) {
            continue;
        }
        if (!removal->no_ssh || g_strcmp0(node->name, remote_local_node()) == 0) {
            g_ptr_array_add(removal->nodes, g_strdup(node->name));
            g_ptr_array_add(removal->extra, g_strdup_printf("on %s, first: %s", node->name, line));
        } else {
            g_ptr_array_add(removal->extra,
                            g_strdup_printf("you, on %s, BEFORE you go on: %s", node->name, line));
            g_ptr_array_add(removal->extra, g_strdup_printf("you, on %s, last: postern cluster "
                                                            "node peers drop",
                                                            node->name));
        }
    }
}

/* Who cannot be asked is found when its milter is to be disabled. */
static void
ask_busy(struct removal *removal)
{
    g_autoptr(GPtrArray) unasked = refusals_new();
    json_t *reports = nodecheck_gather(removal->model, removal->config, removal->no_ssh, unasked);
    nodecheck_busy(reports, removal->refusals);
    json_decref(reports);
}

static int
look(struct removal *removal)
{
    g_autofree char *error = NULL;
    if (model_read(removal->group, &removal->model, &error) < 0) {
        return cli_fail("%s", error);
    }
    removal->refusals = refusals_new();
    removal->extra = g_ptr_array_new_with_free_func(g_free);
    removal->nodes = g_ptr_array_new_with_free_func(g_free);
    if (removal->model->scanner.primitive == NULL) {
        return CLI_OK;
    }
    if (!removal->dry_run && removal->turn < 0 &&
        (removal->turn = turn_take(TURN_PATH, "remove", &error)) < 0) {
        return cli_fail("%s", error);
    }
    removal->plan = plan_of_existing(removal->model);
    refuse_unsettled(removal->refusals, removal->model);
    refuse_busy(removal->refusals, removal->model);
    ask_busy(removal);
    refuse_ties(removal->refusals, removal->model);
    if (removal->model->scanner.warm != NULL) {
        refuse(removal->refusals, removal->model->scanner.primitive,
               "delete both resources with pcs or crmsh, after `postern cluster node milter "
               "disable` on every node",
               "it runs as a primitive beside %s, which was set up by hand",
               removal->model->scanner.warm);
    }
    list_nodes(removal);
    if (rehearse_remove(removal->model, removal->plan, &removal->rehearsal, removal->refusals,
                        &error) < 0) {
        return cli_fail("%s", error);
    }
    return CLI_OK;
}

static void
done(struct removal *removal, const char *word)
{
    json_object_set_new(removal->result, "result", json_string(word));
}

static gboolean
confirm(struct removal *removal)
{
    if (removal->yes || removal->asked) {
        return TRUE;
    }
    if (removal->cli->json || !isatty(STDIN_FILENO)) {
        cli_fail("nobody can be asked: --yes says that you mean it, --dry-run only shows");
        return FALSE;
    }
    removal->asked = diff_confirm("Do it? Mail will not be scanned any more.");
    return removal->asked;
}

/* Without the cluster nobody gives a node signatures: it has to fetch. */
static void
drop_peers(const struct removal *removal)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    for (guint i = 0; i < removal->model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(removal->model->nodes, i);
        if (node->member && (!removal->no_ssh || g_strcmp0(node->name, remote_local_node()) == 0)) {
            g_ptr_array_add(nodes, node->name);
        }
    }
    cluster_peers_drop(nodes, removal->config);
}

static int
carry_out(struct removal *removal)
{
    g_autofree char *error = NULL;
    gboolean quiet = removal->cli->json;
    struct carry carry = {.plan = removal->plan,
                          .epoch = g_strdup(removal->model->epoch),
                          .group = removal->plan->group, /* also when nothing follows it */
                          .quiet = quiet};
    g_autofree char *path = commit_backup(removal->model->doc, BACKUP_DIR, &error);
    int rc = path == NULL ? -EIO : 0;
    if (rc == 0) {
        if (!quiet) {
            printf("Copy of the cluster's configuration: %s\n", path);
        }
        json_object_set_new(removal->result, "backup", json_string(path));
        rc = nodes_milter(NODES_DISABLE, removal->nodes, removal->config,
                          removal->model->postfix_dirs, FALSE, quiet, &error);
    }
    if (rc == 0) {
        rc = carry_remove(&carry, &error);
    }
    g_free(carry.epoch);
    if (rc < 0) {
        cli_fail("%s; what is done stays, `postern cluster remove` goes on from there", error);
        done(removal, "failed");
        return rc == -ESTALE ? -ESTALE : CLI_ERROR;
    }
    drop_peers(removal);
    done(removal, "changed");
    if (!quiet) {
        printf("%s is out of the cluster; what was kept stays in state_dir.\n",
               removal->plan->name);
    }
    return CLI_OK;
}

static int
nothing(struct removal *removal)
{
    if (!removal->cli->json) {
        puts("There is no scanner in the cluster: nothing to change.");
    }
    removal->result = json_pack("{s:s}", "result", "unchanged");
    return CLI_OK;
}

static int
try_once(struct removal *removal)
{
    int rc = look(removal);
    if (rc != CLI_OK || removal->plan == NULL) {
        return rc != CLI_OK ? rc : nothing(removal);
    }
    struct view view = {.model = removal->model,
                        .plan = removal->plan,
                        .rehearsal = &removal->rehearsal,
                        .refusals = removal->refusals,
                        .extra = removal->extra,
                        .removing = TRUE};
    removal->result = view_json(&view);
    if (!removal->cli->json) {
        view_print(&view);
        (void)fflush(stdout);
    }
    if (refusals_count(removal->refusals) > 0) {
        fprintf(stderr, "postern: nothing is changed: %u reason(s) above\n",
                refusals_count(removal->refusals));
        done(removal, "refused");
        return CLI_FOUND;
    }
    if (removal->dry_run) {
        done(removal, "dry run");
        return CLI_OK;
    }
    if (!confirm(removal)) {
        done(removal, "declined");
        return CLI_FOUND;
    }
    carry_hold_signals();
    return carry_out(removal);
}

static int
run(struct removal *removal)
{
    int rc = -ESTALE;
    for (int i = 0; i < TRIES && rc == -ESTALE; i++) {
        if (i > 0) {
            fputs("postern: starting over\n", stderr);
            try_clear(removal);
        }
        rc = try_once(removal);
    }
    if (removal->cli->json && removal->result != NULL) {
        json_dumpf(removal->result, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    try_clear(removal);
    return rc == -ESTALE ? CLI_ERROR : rc;
}

int
cluster_remove(struct cli *cli, int argc, char **argv)
{
    struct removal removal = {.cli = cli, .turn = -1};
    int rc = CLI_ERROR;
    const GOptionEntry options[] = {
        {"group", 'g', 0, G_OPTION_ARG_STRING, &removal.group,
         "The mail group, when several hold a mail server", "NAME"},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &removal.dry_run, "Show the plan, do nothing", NULL},
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &removal.yes, "Do not ask", NULL},
        {"no-ssh", 0, 0, G_OPTION_ARG_NONE, &removal.no_ssh,
         "Do not log in on the other nodes; print what is to be done there", NULL},
        {"no-milter", 0, 0, G_OPTION_ARG_NONE, &removal.no_milter, "Leave Postfix as it is", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (cli_options(cli, options, "", "Takes the scanner out of the mail group.", &argc, &argv)) {
        g_autofree char *config = cli_config_path(cli);
        removal.config = config == NULL ? NULL : g_canonicalize_filename(config, NULL);
        rc = run(&removal);
    }
    turn_end(removal.turn);
    g_free(removal.config);
    g_free(removal.group);
    return rc;
}

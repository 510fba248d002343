/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster setup */
#include "cluster-commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster-carry.h"
#include "cluster-nodes.h"
#include "cluster-peers.h"
#include "cluster-view.h"
#include "commit.h"
#include "diff.h"
#include "nodecheck.h"
#include "remote.h"
#include "terminal.h"
#include "text.h"
#include "turn.h"

#define BACKUP_DIR "/var/lib/postern/backup"
/* Somebody else changes the configuration while we look at it. */
#define TRIES 3

struct setup {
    struct cli *cli;
    char *group;
    char *name;
    char *mode;
    gboolean dry_run;
    gboolean yes;
    gboolean no_ssh;
    gboolean no_milter;
    int timeout;
    char *config;     /* of --config, NULL = the default */
    int turn;         /* turn_take() */
    gboolean is_left; /* what was begun could not be taken back */
    /* of one try */
    struct model *model;
    struct plan *plan;
    struct rehearsal rehearsal;
    GPtrArray *refusals;
    GPtrArray *extra;
    json_t *reports;
    gboolean has_postfix;
    gboolean make_state_dir;
    gboolean asked;
    char *before; /* carry_mail_history() */
    json_t *result;
};

static void
try_clear(struct setup *setup)
{
    g_clear_pointer(&setup->model, model_free);
    g_clear_pointer(&setup->plan, plan_free);
    rehearsal_clear(&setup->rehearsal);
    g_clear_pointer(&setup->refusals, g_ptr_array_unref);
    g_clear_pointer(&setup->extra, g_ptr_array_unref);
    g_clear_pointer(&setup->before, g_free);
    json_decref(setup->reports);
    setup->reports = NULL;
    json_decref(setup->result);
    setup->result = NULL;
}

static gboolean
says(const struct setup *setup)
{
    return !setup->cli->json;
}

static void
done(struct setup *setup, const char *word)
{
    if (setup->result != NULL) {
        json_object_set_new(setup->result, "result", json_string(word));
    }
}

/* What is done beside the cluster's configuration, for people; who is not reached does it. */
static void
list_extra(struct setup *setup)
{
    const char *dir = nodecheck_state_dir(setup->reports);
    if (setup->make_state_dir) {
        g_autofree char *line = nodes_state_dir_line(dir);
        g_ptr_array_add(setup->extra,
                        g_strdup_printf("on %s, first: %s", setup->model->active, line));
    }
    const char *peers = cluster_peers_plan(setup->model, setup->reports);
    if (peers != NULL) {
        g_ptr_array_add(setup->extra, g_strdup(peers));
    }
    if (setup->has_postfix && !setup->no_milter) {
        g_autofree char *line =
            nodes_milter_line(NODES_ENABLE, setup->config, setup->model->postfix_dirs);
        g_ptr_array_add(setup->extra, g_strdup_printf("on every node, last: %s", line));
    }
}

/* --no-ssh holds for the node that has the storage, too. */
static void
check_state_dir(struct setup *setup, const char *dir)
{
    const char *active = setup->model->active;
    if (!setup->no_ssh || g_strcmp0(active, remote_local_node()) == 0) {
        nodes_check_state_dir(active, dir, &setup->make_state_dir, setup->refusals);
        return;
    }
    g_autofree char *line = nodes_state_dir_line(dir);
    g_autofree char *todo = g_strdup_printf("on %s, before you go on: %s", active, line);
    remark(setup->refusals, active, todo, "state_dir is not looked at without ssh");
}

static int
make_plan(struct setup *setup)
{
    g_autofree char *error = NULL;
    const struct model *model = setup->model;
    const char *dir = nodecheck_state_dir(setup->reports);
    const char *name = setup->name != NULL ? setup->name : "postern";
    if (model->group == NULL || model->active == NULL || dir == NULL) {
        return 0; /* refused already */
    }
    setup->plan = plan_new(model, name, setup->config, dir,
                           nodecheck_queue_directory(setup->reports, model->active), &error);
    if (setup->plan == NULL) {
        refuse(setup->refusals, "plan", NULL, "%s", error);
        return 0;
    }
    setup->plan->timeouts = plan_timeouts(nodecheck_load_seconds(setup->reports));
    if (setup->has_postfix && !setup->no_milter) {
        nodecheck_postfix(setup->reports, model, setup->plan->allowed, setup->refusals);
    }
    check_state_dir(setup, dir);
    if (rehearse_setup(model, setup->plan, &setup->rehearsal, setup->refusals, &error) < 0) {
        return cli_fail("%s", error);
    }
    return 0;
}

/* Everything is looked at; nothing is changed. */
static int
look(struct setup *setup)
{
    g_autofree char *error = NULL;
    if (model_read(setup->group, &setup->model, &error) < 0) {
        return cli_fail("%s", error);
    }
    setup->refusals = refusals_new();
    setup->extra = g_ptr_array_new_with_free_func(g_free);
    refuse_unsettled(setup->refusals, setup->model);
    refuse_busy(setup->refusals, setup->model);
    refuse_unfit(setup->refusals, setup->model, setup->group);
    if (!setup->dry_run && setup->turn < 0 &&
        (setup->turn = turn_take(TURN_PATH, "setup", &error)) < 0) {
        return cli_fail("%s", error);
    }
    setup->reports = nodecheck_gather(setup->model, setup->config, setup->no_ssh, setup->refusals);
    nodecheck_busy(setup->reports, setup->refusals);
    nodecheck(setup->reports, setup->model, setup->refusals);
    const struct settings *settings = cli_settings(setup->cli);
    if (settings != NULL && setup->model->scanner.primitive == NULL) {
        nodecheck_memory(setup->reports, nodes_signature_memory(settings->signatures_dir),
                         setup->refusals);
    }
    for (guint i = 0; i < setup->model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(setup->model->members, i);
        setup->has_postfix = setup->has_postfix || member->kind == MODEL_POSTFIX;
    }
    return CLI_OK;
}

/* The scanner is there: 1: whole, 0: a setup that did not end, -1: something else. */
static int
existing(const struct setup *setup)
{
    const struct model_scanner *scanner = &setup->model->scanner;
    if (scanner->promotable && scanner->mail_follows && !scanner->is_held) {
        return 1;
    }
    return scanner->promotable && !scanner->is_followed ? 0 : -1;
}

static int
confirm(struct setup *setup, const char *question)
{
    if (setup->yes) {
        return TRUE;
    }
    if (setup->cli->json || !isatty(STDIN_FILENO)) {
        cli_fail("nobody can be asked: --yes says that you mean it, --dry-run only shows");
        return FALSE;
    }
    return diff_confirm(question);
}

/* The milter */

static int
milter_on(struct setup *setup, const GPtrArray *nodes, char **error_r)
{
    if (says(setup)) {
        puts("Postfix asks the scanner:");
    }
    int rc = setup->yes ? 0
                        : nodes_milter(NODES_ENABLE, nodes, setup->config,
                                       setup->model->postfix_dirs, TRUE, !says(setup), error_r);
    if (rc == 0 && !setup->yes && !confirm(setup, "Change Postfix on these nodes?")) {
        if (carry_interrupted()) {
            *error_r = g_strdup("interrupted");
            return -EINTR;
        }
        puts("Postfix is left as it is: mail is not scanned until you run `postern cluster setup` "
             "again.");
        return 0;
    }
    return rc < 0 ? rc
                  : nodes_milter(NODES_ENABLE, nodes, setup->config, setup->model->postfix_dirs,
                                 FALSE, !says(setup), error_r);
}

static GPtrArray *
reached(const struct setup *setup)
{
    GPtrArray *nodes = g_ptr_array_new_with_free_func(g_free);
    const char *node;
    json_t *report;
    json_object_foreach(setup->reports, node, report)
    {
        g_ptr_array_add(nodes, g_strdup(node));
    }
    return nodes;
}

static void
print_the_rest(const struct setup *setup)
{
    for (guint i = 0; i < setup->model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(setup->model->nodes, i);
        if (node->member && json_object_get(setup->reports, node->name) == NULL && says(setup)) {
            g_autofree char *line =
                nodes_milter_line(NODES_ENABLE, setup->config, setup->model->postfix_dirs);
            g_autofree char *text = g_strdup_printf("On %s, now: %s", node->name, line);
            g_autofree char *safe = text_escape(text, 2000);
            puts(safe);
        }
    }
}

/* Nodes that have no milter yet get it, the others are left alone. */
static int
finish_milters(struct setup *setup, char **error_r)
{
    unsigned with_postfix;
    unsigned enabled = nodecheck_milters(setup->reports, &with_postfix);
    g_autoptr(GPtrArray) nodes = reached(setup);
    int rc = 0;
    if (!setup->has_postfix || setup->no_milter || enabled == with_postfix) {
        return 0;
    }
    rc = milter_on(setup, nodes, error_r);
    print_the_rest(setup);
    return rc < 0 ? rc : 1;
}

static int
refused(struct setup *setup)
{
    guint n = refusals_count(setup->refusals);
    done(setup, "refused");
    if (says(setup)) {
        (void)fflush(stdout);
        fprintf(stderr, "postern: nothing is changed: %u reason(s) above\n", n);
    }
    return CLI_FOUND;
}

static int
already(struct setup *setup)
{
    g_autofree char *error = NULL;
    unsigned with_postfix;
    unsigned enabled = nodecheck_milters(setup->reports, &with_postfix);
    const char *name = setup->model->scanner.primitive;
    gboolean all = setup->no_milter || !setup->has_postfix || enabled == with_postfix;
    if (says(setup)) {
        printf("%s is in the cluster, and mail group %s follows it.\n", name, setup->model->group);
        view_refusals(setup->refusals);
    }
    if (!all && refusals_count(setup->refusals) > 0) {
        return refused(setup);
    }
    if (!setup->dry_run) {
        cluster_peers_share(setup->cli, setup->model, setup->reports, setup->config);
    }
    if (!all && !setup->dry_run) {
        int rc = finish_milters(setup, &error);
        done(setup, rc < 0 ? "failed" : "changed");
        return rc < 0 ? cli_fail("%s", error) : CLI_OK;
    }
    if (says(setup)) {
        puts(all ? "There is nothing to change." : "Postfix does not ask it on every node yet.");
    }
    done(setup, all ? "unchanged" : "dry run");
    return CLI_OK;
}

/* Doing it */

static void
undo(struct setup *setup, struct carry *carry, const GPtrArray *nodes, gboolean milters)
{
    g_autofree char *error = NULL;
    const char *dir = nodecheck_state_dir(setup->reports);
    fputs("postern: what was begun is taken back\n", stderr);
    if (milters && nodes_milter(NODES_DISABLE, nodes, setup->config, setup->model->postfix_dirs,
                                FALSE, TRUE, &error) < 0) {
        cli_fail("%s; the scanner stays, or mail would be refused there: when that node is well, "
                 "`postern cluster setup` goes on and `postern cluster remove` takes it back",
                 error);
        setup->is_left = TRUE;
        return;
    }
    if (carry_undo(carry, &error) < 0) {
        setup->is_left = TRUE;
        cli_fail("it could not be taken back: %s; run `postern cluster remove`", error);
    } else {
        cluster_peers_drop(nodes, setup->config);
        fputs("postern: the cluster's configuration is as it was\n", stderr);
    }
    if (setup->make_state_dir) {
        nodes_drop_state_dir(setup->plan->active, dir);
    }
}

static int
save(struct setup *setup)
{
    g_autofree char *error = NULL;
    g_autofree char *path = commit_backup(setup->model->doc, BACKUP_DIR, &error);
    if (path == NULL) {
        return cli_fail("no copy of the cluster's configuration could be made: %s", error);
    }
    if (says(setup)) {
        printf("Copy of the cluster's configuration: %s\n", path);
    } else {
        json_object_set_new(setup->result, "backup", json_string(path));
    }
    return CLI_OK;
}

static unsigned
members(const struct model *model)
{
    unsigned n = 0;
    for (guint i = 0; i < model->nodes->len; i++) {
        n += ((const struct model_node *)g_ptr_array_index(model->nodes, i))->member ? 1 : 0;
    }
    return n;
}

/* 0, or -errno: then all of it is taken back. */
static int
carry_all(struct setup *setup, struct carry *carry, char **error_r)
{
    g_autoptr(GPtrArray) nodes = reached(setup);
    gboolean milters = FALSE;
    int rc = 0;
    if (setup->make_state_dir) {
        int format = nodecheck_state_format(setup->reports, members(setup->model));
        rc = nodes_make_state_dir(setup->plan->active, nodecheck_state_dir(setup->reports), format,
                                  error_r);
    }
    if (rc == 0) {
        cluster_peers_share(setup->cli, setup->model, setup->reports, setup->config);
        rc = carry_setup(carry, error_r);
    }
    if (rc == 0 && carry_interrupted()) {
        *error_r = g_strdup("interrupted");
        rc = -EINTR;
    }
    if (rc == 0 && setup->has_postfix && !setup->no_milter) {
        milters = TRUE;
        rc = milter_on(setup, nodes, error_r);
    }
    if (rc < 0) {
        cli_fail("%s", *error_r);
    }
    if (rc < 0 && carry->written) {
        undo(setup, carry, nodes, milters);
    } else if (rc < 0 && setup->make_state_dir) {
        nodes_drop_state_dir(setup->plan->active, nodecheck_state_dir(setup->reports));
    }
    return rc;
}

static void
report_end(struct setup *setup)
{
    g_autofree char *error = NULL;
    g_autofree char *after = NULL;
    g_autoptr(model_t) model = NULL;
    if (model_read(setup->group, &model, &error) == 0) {
        after = carry_mail_history(model);
    }
    gboolean same = g_strcmp0(setup->before, after) == 0;
    json_object_set_new(setup->result, "mail_untouched", json_boolean(same));
    if (says(setup)) {
        printf("%s serves on %s; %s\n", setup->plan->name, setup->plan->active,
               same ? "nothing of the mail group was started or stopped."
                    : "the mail group was started or stopped meanwhile, see crm_mon.");
        puts("See it with `postern cluster status`; try it with `postern cluster drill`; take it "
             "back with `postern cluster remove`.");
        if (!setup->no_milter) {
            print_the_rest(setup);
        }
    }
}

static int
carry_out(struct setup *setup)
{
    g_autofree char *error = NULL;
    struct carry carry = {.plan = setup->plan,
                          .epoch = g_strdup(setup->model->epoch),
                          .group = setup->group,
                          .limit_s = (unsigned)setup->timeout,
                          .load_s = nodecheck_load_seconds(setup->reports),
                          .quiet = !says(setup)};
    setup->before = carry_mail_history(setup->model);
    int rc = save(setup) != CLI_OK ? -EIO : carry_all(setup, &carry, &error);
    g_free(carry.epoch);
    if (rc == 0) {
        report_end(setup);
        done(setup, "changed");
        return CLI_OK;
    }
    done(setup, setup->is_left ? "failed" : "undone");
    return rc == -ESTALE && !setup->is_left ? -ESTALE : CLI_ERROR;
}

/* A setup that was killed has left something that nothing depends on. */
static int
clean_up(struct setup *setup)
{
    g_autofree char *error = NULL;
    g_autoptr(plan_t) plan = plan_of_existing(setup->model);
    struct carry carry = {.plan = plan, .group = setup->group, .quiet = !says(setup)};
    if (says(setup)) {
        printf("%s is left from a setup that did not end; it is taken away first.\n", plan->name);
    }
    if (setup->dry_run) {
        done(setup, "dry run");
        return CLI_OK;
    }
    if (!confirm(setup, "Take it away?")) {
        done(setup, "declined");
        return CLI_FOUND;
    }
    carry_hold_signals();
    int rc = carry_undo(&carry, &error);
    g_free(carry.epoch);
    return rc < 0 ? cli_fail("%s", error) : -ESTALE;
}

/* CLI_..., or -ESTALE: once more. */
static int
try_once(struct setup *setup)
{
    int rc = look(setup);
    if (rc != CLI_OK) {
        return rc;
    }
    int there = setup->model->scanner.primitive == NULL ? -2 : existing(setup);
    if (there == -1) {
        refuse(setup->refusals, setup->model->scanner.primitive,
               "postern cluster remove, then come again",
               "a scanner is in the cluster already, set up in another way");
    } else if (there == -2 && make_plan(setup) != 0) {
        return CLI_ERROR;
    }
    list_extra(setup);
    struct view view = {.model = setup->model,
                        .plan = setup->plan,
                        .rehearsal = &setup->rehearsal,
                        .refusals = setup->refusals,
                        .extra = setup->extra};
    setup->result = view_json(&view);
    if (there == 1) {
        return already(setup);
    }
    if (says(setup)) {
        view_print(&view);
    }
    if (refusals_count(setup->refusals) > 0) {
        return refused(setup);
    }
    if (there == 0) {
        return clean_up(setup);
    }
    if (setup->dry_run) {
        done(setup, "dry run");
        return CLI_OK;
    }
    if (!setup->asked && !confirm(setup, "Do it?")) {
        done(setup, "declined");
        return CLI_FOUND;
    }
    setup->asked = TRUE;
    carry_hold_signals();
    return carry_out(setup);
}

static int
run(struct setup *setup)
{
    int rc = -ESTALE;
    for (int i = 0; i < TRIES && rc == -ESTALE; i++) {
        if (i > 0) {
            fputs("postern: starting over\n", stderr);
            try_clear(setup);
        }
        rc = try_once(setup);
    }
    if (setup->cli->json && setup->result != NULL) {
        json_dumpf(setup->result, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    try_clear(setup);
    return rc == -ESTALE ? CLI_ERROR : rc;
}

static gboolean
mode_is_known(const struct setup *setup)
{
    if (setup->mode == NULL || strcmp(setup->mode, "promotable") == 0) {
        return TRUE;
    }
    if (strcmp(setup->mode, "primitive") == 0) {
        cli_fail("--mode primitive: a file system that several nodes mount is set up by hand; see "
                 "Primitive in ocf_postern_scanner(7)");
    } else {
        g_autofree char *shown = text_escape(setup->mode, 40);
        cli_fail("--mode is promotable, not %s", shown);
    }
    return FALSE;
}

int
cluster_setup(struct cli *cli, int argc, char **argv)
{
    struct setup setup = {.cli = cli, .turn = -1};
    int rc = CLI_ERROR;
    const GOptionEntry options[] = {
        {"group", 'g', 0, G_OPTION_ARG_STRING, &setup.group,
         "The mail group, when several hold a mail server", "NAME"},
        {"name", 0, 0, G_OPTION_ARG_STRING, &setup.name, "The new resource (postern)", "NAME"},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &setup.dry_run, "Show the plan, do nothing", NULL},
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &setup.yes, "Do not ask", NULL},
        {"no-ssh", 0, 0, G_OPTION_ARG_NONE, &setup.no_ssh,
         "Do not log in on the other nodes; print what is to be done there", NULL},
        {"no-milter", 0, 0, G_OPTION_ARG_NONE, &setup.no_milter, "Leave Postfix as it is", NULL},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &setup.timeout,
         "How long the signatures may take to load (by what was measured)", "SECONDS"},
        {"mode", 0, 0, G_OPTION_ARG_STRING, &setup.mode, "promotable; primitive is set up by hand",
         "MODE"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (cli_options(cli, options, "", "Puts the scanner into the running mail group.", &argc,
                    &argv)) {
        g_autofree char *config = cli_config_path(cli);
        setup.config = config == NULL ? NULL : g_canonicalize_filename(config, NULL);
        if (setup.timeout < 0) {
            cli_fail("--timeout is a number of seconds");
        } else if (mode_is_known(&setup)) {
            rc = run(&setup);
        }
    }
    turn_end(setup.turn);
    g_free(setup.config);
    g_free(setup.group);
    g_free(setup.name);
    g_free(setup.mode);
    return rc;
}

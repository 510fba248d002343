/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern cluster push-config: this node's configuration onto the others. Staged and checked
 * everywhere before it is put in place anywhere; brought back everywhere when that fails on one.
 */
#include "cluster-commands.h"

#include <stdio.h>
#include <string.h>
#include <jansson.h>

#include "ask.h"
#include "cluster-carry.h"
#include "diff.h"
#include "node-list.h"
#include "node-report.h"
#include "remote.h"
#include "terminal.h"
#include "text.h"

#define STEP_S 60

struct target {
    char *node;
    json_t *staged; /* what `stage` answered */
    char *error;
    const char *state;
    json_t *finished;
    char *diff;
};

struct push {
    struct cli *cli;
    char *path;
    char *text;
    char *hash;
    json_t *settings;   /* as this node reads them */
    GPtrArray *targets; /* of struct target * */
};

static void
target_free(void *p)
{
    struct target *target = p;
    g_free(target->node);
    g_free(target->error);
    g_free(target->diff);
    json_decref(target->staged);
    json_decref(target->finished);
    g_free(target);
}

static struct target *
target_at(const struct push *push, guint i)
{
    return g_ptr_array_index(push->targets, i);
}

/* A node that has the file already needs nothing but, maybe, to read it again. */
static gboolean
is_changed(const struct push *push, const struct target *target)
{
    return g_strcmp0(ask_text(target->staged, "current"), push->hash) != 0;
}

typedef void each_answer(struct push *push, struct target *target, struct remote_job *job);
typedef gboolean is_wanted(const struct push *push, const struct target *target);

/* `postern cluster node config STEP` on all targets that WANTED (NULL: all) names, at once. */
static void
step(struct push *push, const char *name, is_wanted *wanted, each_answer *each)
{
    guint n = push->targets->len;
    g_autofree struct remote_job *jobs = g_new0(struct remote_job, n);
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autofree struct target **asked = g_new0(struct target *, n);
    size_t used = 0;
    for (guint i = 0; i < n; i++) {
        struct target *target = target_at(push, i);
        if (wanted != NULL && !wanted(push, target)) {
            continue;
        }
        gboolean hashed = strcmp(name, "commit") == 0 || strcmp(name, "rollback") == 0;
        const char *current = hashed ? ask_text(target->staged, "current") : NULL;
        const char *const all[] = {"postern",  "cluster",
                                   "node",     "config",
                                   name,       "--config",
                                   push->path, hashed ? "--staged" : NULL,
                                   push->hash, current == NULL ? NULL : "--current",
                                   current,    NULL};
        const char **argv = g_memdup2(all, sizeof all);
        g_ptr_array_add(words, argv);
        jobs[used] = (struct remote_job){.node = target->node,
                                         .argv = argv,
                                         .input = strcmp(name, "stage") == 0 ? push->text : NULL,
                                         .timeout_s = STEP_S};
        asked[used++] = target;
    }
    remote_run_all(jobs, used);
    for (size_t i = 0; i < used; i++) {
        each(push, asked[i], &jobs[i]);
        remote_job_clear(&jobs[i]);
    }
}

static void
fail(struct target *target, const char *state, const char *error)
{
    target->state = state;
    g_free(target->error);
    target->error = g_strdup(error);
}

/* The same text, read by another version: every setting that both know has to mean the same. */
static void
compare_reading(const struct push *push, struct target *target)
{
    const char *name;
    json_t *value;
    json_object_foreach(push->settings, name, value)
    {
        const json_t *there = json_object_get(json_object_get(target->staged, "settings"), name);
        if (there != NULL && !json_equal(there, value)) {
            g_autofree char *error = g_strdup_printf(
                "its Postern %s takes %s as %s, this node's as %s: set it in the file, or install "
                "the same version",
                ask_text(target->staged, "postern"), name, json_string_value(there),
                json_string_value(value));
            fail(target, "refused", error);
            return;
        }
    }
}

static void
on_staged(struct push *push, struct target *target, struct remote_job *job)
{
    json_error_t wrong;
    if (job->result < 0 || job->result > CLI_FOUND) {
        fail(target, "failed", job->error);
        return;
    }
    target->staged = json_loads(job->output, 0, &wrong);
    const char *error = ask_text(target->staged, "error");
    if (target->staged == NULL || error != NULL) {
        fail(target, "refused", error != NULL ? error : "its answer cannot be read");
        return;
    }
    compare_reading(push, target);
    const char *old = ask_text(target->staged, "text");
    g_autofree char *label = g_strdup_printf("%s:%s", target->node, push->path);
    target->diff = diff_text(label, old == NULL ? "" : old, push->text);
}

static void
on_committed(struct push *push, struct target *target, struct remote_job *job)
{
    (void)push;
    if (job->result == 0) {
        target->state = "changed";
    } else {
        fail(target, "failed", job->error);
    }
}

static void
on_rolled_back(struct push *push, struct target *target, struct remote_job *job)
{
    (void)push;
    if (job->result != 0) {
        fail(target, "failed", job->error);
    } else if (target->error == NULL) {
        target->state = "rolled back";
    }
}

static void
on_finished(struct push *push, struct target *target, struct remote_job *job)
{
    json_error_t wrong;
    (void)push;
    target->finished = job->result >= 0 ? json_loads(job->output, 0, &wrong) : NULL;
    const char *error = ask_text(target->finished, "error");
    if (job->result != 0) {
        fail(target, target->state, error != NULL ? error : job->error);
    }
}

static gboolean
any_error(const struct push *push)
{
    for (guint i = 0; i < push->targets->len; i++) {
        if (target_at(push, i)->error != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
any_change(const struct push *push)
{
    for (guint i = 0; i < push->targets->len; i++) {
        if (is_changed(push, target_at(push, i))) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Something was staged there, or may have been. */
static gboolean
was_staged(const struct push *push, const struct target *target)
{
    (void)push;
    return target->staged != NULL;
}

static void
show_diffs(const struct push *push)
{
    for (guint i = 0; i < push->targets->len && !push->cli->json; i++) {
        fputs(target_at(push, i)->diff, stdout);
    }
}

/* Returns the exit status; the states of the targets say what was done. */
static int
push_run(struct push *push, gboolean yes, gboolean dry_run)
{
    step(push, "stage", NULL, on_staged);
    gboolean bad = any_error(push);
    gboolean changes = any_change(push);
    gboolean go = !bad && !dry_run;
    if (!bad) {
        show_diffs(push);
    }
    if (go && changes && !yes) {
        go = diff_confirm("Put this configuration on these nodes?");
    }
    if (!go) {
        step(push, "rollback", was_staged, on_rolled_back);
        return bad ? CLI_ERROR : dry_run ? CLI_OK : CLI_FOUND;
    }
    carry_hold_signals();
    step(push, "commit", is_changed, on_committed);
    if (any_error(push)) {
        step(push, "rollback", was_staged, on_rolled_back);
        return CLI_ERROR;
    }
    step(push, "finish", NULL, on_finished);
    return any_error(push) ? CLI_FOUND : CLI_OK;
}

static json_t *
target_json(const struct push *push, const struct target *target)
{
    json_t *restart = json_object_get(target->staged, "restart");
    return json_pack("{s:s, s:s, s:s?, s:b, s:O?, s:O?, s:s?}", "node", target->node, "state",
                     target->state, "diff", target->diff, "reloaded",
                     json_is_true(json_object_get(target->finished, "reloaded")), "programs",
                     json_object_get(target->finished, "programs"), "restart",
                     is_changed(push, target) ? restart : NULL, "error", target->error);
}

static void
print_json(const struct push *push, gboolean dry_run)
{
    json_t *nodes = json_array();
    for (guint i = 0; i < push->targets->len; i++) {
        json_array_append_new(nodes, target_json(push, target_at(push, i)));
    }
    json_t *all = json_pack("{s:s, s:s, s:b, s:o}", "config", push->path, "sha256", push->hash,
                            "dry_run", dry_run, "nodes", nodes);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

/* Who reads it now. An older version tells posternd alone, and no names. */
static char *
told_text(const struct target *target)
{
    const json_t *programs = json_object_get(target->finished, "programs");
    g_autoptr(GString) text = g_string_new(NULL);
    size_t i;
    const json_t *program;
    json_array_foreach(programs, i, program)
    {
        g_autofree char *safe = text_escape(json_string_value(program), 60);
        g_string_append_printf(text, "%s %s", i == 0 ? ";" : ",", safe);
    }
    if (programs == NULL && json_is_true(json_object_get(target->finished, "reloaded"))) {
        g_string_append(text, "; posternd");
    }
    if (text->len > 0) {
        g_string_append(text, json_array_size(programs) > 1 ? " read it now" : " reads it now");
    }
    return g_strdup(text->str);
}

static void
print_target(const struct push *push, const struct target *target)
{
    const json_t *restart = json_object_get(target->staged, "restart");
    g_autofree char *node = text_escape(target->node, 60);
    g_autofree char *word =
        terminal_colour(target->error != NULL ? COLOUR_BAD : COLOUR_GOOD, target->state);
    g_autofree char *told = told_text(target);
    printf("%s: %s%s\n", node, word, told);
    if (is_changed(push, target) && json_array_size(restart) > 0) {
        size_t i;
        const json_t *name;
        printf("  from the next start of engine and posternd there:");
        json_array_foreach(restart, i, name)
        {
            g_autofree char *safe = text_escape(json_string_value(name), 60);
            printf("%s %s", i > 0 ? "," : "", safe);
        }
        putchar('\n');
    }
    if (target->error != NULL) {
        g_autofree char *error = text_escape(target->error, 600);
        cli_fail("%s%s%s", g_str_has_prefix(error, node) ? "" : node,
                 g_str_has_prefix(error, node) ? "" : ": ", error);
    }
}

static void
print_result(const struct push *push, gboolean dry_run)
{
    if (push->cli->json) {
        print_json(push, dry_run);
        return;
    }
    for (guint i = 0; i < push->targets->len; i++) {
        print_target(push, target_at(push, i));
    }
    if (dry_run) {
        puts("Nothing was changed: --dry-run.");
    }
}

static void
add_setting(const char *name, const char *value, const char *preset, const char *text, void *data)
{
    (void)preset;
    (void)text;
    json_object_set_new(data, name, json_string(value));
}

/* This node's file, which has to be there and correct. FALSE after a message. */
static gboolean
push_read(struct push *push)
{
    g_autofree char *named = cli_config_path(push->cli);
    g_autoptr(GError) error = NULL;
    const struct settings *settings = cli_settings(push->cli);
    push->path = g_canonicalize_filename(named == NULL ? SETTINGS_PATH : named, NULL);
    if (settings == NULL) {
        return FALSE;
    }
    if (!g_file_get_contents(push->path, &push->text, NULL, &error)) {
        cli_fail("%s", error->message);
        return FALSE;
    }
    push->hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, push->text, -1);
    push->settings = json_object();
    settings_foreach(settings, add_setting, push->settings);
    return TRUE;
}

/* This node too: it has the file, but its posternd may not have read it. */
static gboolean
push_targets(struct push *push, char *const *only)
{
    g_autofree char *error = NULL;
    g_auto(GStrv) nodes = node_list(&error);
    if (nodes == NULL) {
        cli_fail("%s", error);
        return FALSE;
    }
    for (char *const *name = only; name != NULL && *name != NULL; name++) {
        if (!g_strv_contains((const char *const *)nodes, *name)) {
            g_autofree char *safe = text_escape(*name, 60);
            cli_fail("the cluster has no node %s", safe);
            return FALSE;
        }
    }
    for (char **node = nodes; *node != NULL; node++) {
        if (only == NULL || g_strv_contains((const char *const *)only, *node)) {
            struct target *target = g_new0(struct target, 1);
            target->node = g_strdup(*node);
            target->state = "unchanged";
            g_ptr_array_add(push->targets, target);
        }
    }
    return TRUE;
}

int
cluster_push_config(struct cli *cli, int argc, char **argv)
{
    struct push push = {.cli = cli};
    gboolean yes = FALSE;
    gboolean dry_run = FALSE;
    g_auto(GStrv) only = NULL;
    int rc = CLI_ERROR;
    const GOptionEntry entries[] = {
        {"node", 0, 0, G_OPTION_ARG_STRING_ARRAY, &only, "This node only (may be repeated)",
         "NODE"},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &dry_run, "Show it, change nothing", NULL},
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "",
                     "Puts this node's configuration on all nodes of the cluster.", &argc, &argv)) {
        return CLI_ERROR;
    }
    push.targets = g_ptr_array_new_with_free_func(target_free);
    if (push_read(&push) && push_targets(&push, only)) {
        rc = push_run(&push, yes, dry_run);
        print_result(&push, dry_run);
    }
    g_ptr_array_unref(push.targets);
    json_decref(push.settings);
    g_free(push.path);
    g_free(push.text);
    g_free(push.hash);
    return rc;
}

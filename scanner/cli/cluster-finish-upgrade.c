/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern cluster finish-upgrade: raises the format of the state when every node that may take it
 * over knows the newer one. Until then an older Postern can; afterwards it refuses.
 */
#include "cluster-commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>
#include <libxml/xpath.h>

#include "ask.h"
#include "cib.h"
#include "format.h"
#include "node-report.h"
#include "remote.h"
#include "role.h"
#include "text.h"

/* A node's report measures nothing, but asks several tools. */
#define REPORT_S 60
#define RAISE_S 60
#define NODES_PATH                                                \
    "/cib/configuration/nodes/node[not(@type) or @type='member' " \
    "or @type='normal']/@uname"

struct node {
    char *name;
    json_t *report; /* NULL = there is none, ERROR says why */
    char *error;    /* why the format cannot be raised because of this node; NULL = nothing */
};

struct upgrade {
    int format;       /* that is wanted */
    GPtrArray *nodes; /* struct node * */
    const struct node *active;
    gboolean is_single; /* one host without a cluster */
    int was;
    int now;
};

static void
node_free(void *data)
{
    struct node *node = data;
    json_decref(node->report);
    g_free(node->name);
    g_free(node->error);
    g_free(node);
}

static void
node_add(struct upgrade *upgrade, const char *name)
{
    struct node *node = g_new0(struct node, 1);
    node->name = g_strdup(name);
    g_ptr_array_add(upgrade->nodes, node);
}

/*
 * A private instance, or a host without a cluster: then no other may take the state over. With the
 * cluster manager stopped on this node posternd does not run here, and the rest refuses for that.
 */
static int
single_host(struct cli *cli, struct upgrade *upgrade)
{
    char *none[] = {NULL};
    g_autofree char *path = cli_config_path(cli);
    node_add(upgrade, g_get_host_name());
    ((struct node *)g_ptr_array_index(upgrade->nodes, 0))->report = node_report(path, none);
    upgrade->is_single = TRUE;
    return 0;
}

/* All that the cluster knows of, offline or not: each may come back and take the state over. */
static int
nodes_find(struct cli *cli, struct upgrade *upgrade, char **error_r)
{
    g_autoptr(cib_doc_t) cib = NULL;
    g_autofree char *error = NULL;
    int rc = cli->dir != NULL ? -ENOTCONN : cib_read(&cib, &error);
    if (rc < 0 && (cli->dir != NULL || access(ROLE_DIR "/role", F_OK) < 0)) {
        return single_host(cli, upgrade);
    }
    if (rc < 0) {
        *error_r = g_steal_pointer(&error);
        return rc;
    }
    xmlXPathContext *context = xmlXPathNewContext(cib);
    xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)NODES_PATH, context);
    for (int i = 0; found != NULL && i < xmlXPathNodeSetGetLength(found->nodesetval); i++) {
        xmlChar *name = xmlNodeGetContent(found->nodesetval->nodeTab[i]);
        node_add(upgrade, (const char *)name);
        xmlFree(name);
    }
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
    if (upgrade->nodes->len == 0) {
        *error_r = g_strdup("the cluster has no nodes");
        return -ENODATA;
    }
    return 0;
}

static gint64
newest_of(const json_t *report)
{
    return json_integer_value(json_array_get(json_object_get(report, "state_formats"), 1));
}

/* What was saved on a node, for who has no ssh between the nodes. */
static int
report_load(struct upgrade *upgrade, const char *path)
{
    json_error_t error;
    json_t *report = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    const char *name = ask_text(report, "node");
    if (name == NULL) {
        json_decref(report);
        return cli_fail("%s: %s", path, report == NULL ? error.text : "is no report of a node");
    }
    for (guint i = 0; i < upgrade->nodes->len; i++) {
        struct node *node = g_ptr_array_index(upgrade->nodes, i);
        if (strcmp(node->name, name) == 0 && node->report == NULL) {
            node->report = report;
            return CLI_OK;
        }
    }
    g_autofree char *shown = text_escape(name, 100);
    json_decref(report);
    return cli_fail("%s: the cluster has no node %s, or it was given twice", path, shown);
}

static void
report_take(struct node *node, struct remote_job *job)
{
    if (job->result == 0) {
        node->report = json_loads(job->output, JSON_REJECT_DUPLICATES, NULL);
    }
    if (node->report != NULL) {
        return;
    }
    if (job->result == -EHOSTUNREACH) {
        node->error = g_strdup_printf(
            "%s; run `postern cluster node report >FILE` there and give --report FILE; a node that "
            "is offline comes back with what it has: bring it online, or remove it",
            job->error);
    } else if (job->result > 0) {
        node->error = g_strdup_printf("%s: its Postern is an older one: upgrade it", node->name);
    } else {
        node->error = g_strdup(job->error != NULL ? job->error : "its report cannot be understood");
    }
}

static void
reports_fetch(struct upgrade *upgrade)
{
    static const char *const argv[] = {"postern", "cluster", "node", "report", NULL};
    g_autofree struct remote_job *jobs = g_new0(struct remote_job, upgrade->nodes->len);
    g_autofree struct node **asked = g_new0(struct node *, upgrade->nodes->len);
    size_t n = 0;
    for (guint i = 0; i < upgrade->nodes->len; i++) {
        struct node *node = g_ptr_array_index(upgrade->nodes, i);
        if (node->report == NULL) {
            jobs[n] = (struct remote_job){.node = node->name, .argv = argv, .timeout_s = REPORT_S};
            asked[n++] = node;
        }
    }
    remote_run_all(jobs, n);
    for (size_t i = 0; i < n; i++) {
        report_take(asked[i], &jobs[i]);
        remote_job_clear(&jobs[i]);
    }
}

/* Returns whether NODE's posternd has the state. */
static gboolean
node_judge(struct upgrade *upgrade, struct node *node)
{
    const json_t *service = json_object_get(node->report, "service");
    if (node->report == NULL) {
        return FALSE;
    }
    gint64 newest = newest_of(node->report);
    if (newest < upgrade->format) {
        g_autofree char *version = text_escape(ask_text(node->report, "postern"), 40);
        node->error = g_strdup_printf("%s: its Postern %s knows the formats of the state up to "
                                      "%" G_GINT64_FORMAT ": upgrade it",
                                      node->name, version, newest);
    } else if (json_is_object(service) && ask_number(service, "state_format") == 0) {
        node->error = g_strdup_printf("%s: the older posternd still runs there: fail over to "
                                      "another node, or restart the resource",
                                      node->name);
    }
    return json_is_object(service);
}

/* Returns an exit status; all that is in the way is said. */
static int
nodes_check(struct upgrade *upgrade)
{
    int rc = CLI_OK;
    guint serving = 0;
    for (guint i = 0; i < upgrade->nodes->len; i++) {
        struct node *node = g_ptr_array_index(upgrade->nodes, i);
        if (node_judge(upgrade, node)) {
            upgrade->active = node;
            serving++;
        }
        if (node->error != NULL) {
            (void)cli_fail("%s", node->error);
            rc = CLI_FOUND;
        }
    }
    if (rc == CLI_OK && serving != 1) {
        (void)cli_fail(serving == 0 ? "posternd runs on no node: the format is raised where it "
                                      "serves; start the resource"
                                    : "posternd runs on several nodes: wait until one serves");
        rc = CLI_FOUND;
    }
    if (rc == CLI_OK) {
        upgrade->was =
            (int)ask_number(json_object_get(upgrade->active->report, "service"), "state_format");
        upgrade->now = upgrade->was;
    }
    return rc;
}

/* Asks the posternd of this node. */
static int
raise_here(struct cli *cli, struct upgrade *upgrade)
{
    const struct settings *settings = cli_settings(cli);
    struct ask ask = {0};
    g_autofree char *error = NULL;
    json_t *answer = NULL;
    if (settings == NULL) {
        return CLI_ERROR;
    }
    int rc = ask_open(&ask, "posternd", settings->control_socket, &error);
    if (rc == 0) {
        json_t *request =
            json_pack("{s:s, s:i}", "op", "finish-upgrade", "format", upgrade->format);
        rc = ask_call(&ask, request, -1, RAISE_S * 1000, &answer, NULL, &error);
        json_decref(request);
        ask_close(&ask);
    }
    if (rc < 0) {
        return cli_fail("%s", error);
    }
    upgrade->now = (int)ask_number(answer, "format");
    upgrade->was = (int)ask_number(answer, "was");
    json_decref(answer);
    return CLI_OK;
}

static int
raise_there(struct upgrade *upgrade)
{
    g_autofree char *format = g_strdup_printf("%d", upgrade->format);
    const char *const argv[] = {"postern", "cluster", "finish-upgrade", "--here", format, NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    int rc = remote_run(upgrade->active->name, argv, NULL, RAISE_S * 2, &output, &error);
    if (rc == -EHOSTUNREACH) {
        g_autofree char *text = remote_command_text(argv);
        return cli_fail("%s; all nodes are ready: run on %s: %s", error, upgrade->active->name,
                        text);
    }
    if (rc != 0) {
        return cli_fail("%s", error);
    }
    upgrade->now = upgrade->format;
    return CLI_OK;
}

static int
state_raise_format(struct cli *cli, struct upgrade *upgrade)
{
    if (upgrade->was >= upgrade->format) {
        return CLI_OK;
    }
    gboolean is_here =
        upgrade->is_single || strcmp(upgrade->active->name, remote_local_node()) == 0;
    return is_here ? raise_here(cli, upgrade) : raise_there(upgrade);
}

static void
print_json(const struct upgrade *upgrade)
{
    json_t *nodes = json_array();
    for (guint i = 0; i < upgrade->nodes->len; i++) {
        const struct node *node = g_ptr_array_index(upgrade->nodes, i);
        json_array_append_new(nodes,
                              json_pack("{s:s, s:s?, s:I, s:s?}", "node", node->name, "postern",
                                        ask_text(node->report, "postern"), "newest",
                                        (json_int_t)newest_of(node->report), "error", node->error));
    }
    json_t *all = json_pack("{s:i, s:i, s:i, s:s?, s:o}", "format", upgrade->now, "was",
                            upgrade->was, "wanted", upgrade->format, "active",
                            upgrade->active == NULL ? NULL : upgrade->active->name, "nodes", nodes);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void
print_text(const struct upgrade *upgrade, gboolean dry_run)
{
    if (upgrade->was >= upgrade->format) {
        printf("The state has format %d already.\n", upgrade->was);
    } else if (dry_run) {
        printf("The state has format %d; all %u node(s) know %d: it can be raised.\n", upgrade->was,
               upgrade->nodes->len, upgrade->format);
    } else {
        printf("The state has format %d now (it was %d): an older Postern refuses it.\n",
               upgrade->now, upgrade->was);
    }
}

static int
upgrade_run(struct cli *cli, struct upgrade *upgrade, char **reports, gboolean dry_run)
{
    g_autofree char *error = NULL;
    if (nodes_find(cli, upgrade, &error) < 0) {
        return cli_fail("%s", error);
    }
    for (; reports != NULL && *reports != NULL; reports++) {
        if (report_load(upgrade, *reports) != CLI_OK) {
            return CLI_ERROR;
        }
    }
    reports_fetch(upgrade);
    int rc = nodes_check(upgrade);
    if (rc == CLI_OK && !dry_run) {
        rc = state_raise_format(cli, upgrade);
    }
    if (cli->json) {
        print_json(upgrade);
    } else if (rc == CLI_OK) {
        print_text(upgrade, dry_run);
    }
    return rc;
}

int
cluster_finish_upgrade(struct cli *cli, int argc, char **argv)
{
    struct upgrade upgrade = {.format = FORMAT_NEWEST};
    g_auto(GStrv) reports = NULL;
    gboolean dry_run = FALSE;
    int here = 0;
    const GOptionEntry entries[] = {
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &dry_run, "Only look whether it can be done", NULL},
        {"report", 'r', 0, G_OPTION_ARG_FILENAME_ARRAY, &reports,
         "What `postern cluster node report` printed on a node that ssh does not reach", "FILE"},
        {"here", 0, 0, G_OPTION_ARG_INT, &here,
         "Raise it to FORMAT on this node, unchecked: the last step of the command", "FORMAT"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "",
                     "Raises the format of the state, when all nodes have the newer Postern.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (here > 0) {
        upgrade.format = here;
        return raise_here(cli, &upgrade);
    }
    upgrade.nodes = g_ptr_array_new_with_free_func(node_free);
    int rc = upgrade_run(cli, &upgrade, reports, dry_run);
    g_ptr_array_unref(upgrade.nodes);
    return rc;
}

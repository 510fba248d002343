/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-page.h"

#include <errno.h>
#include <string.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "ask.h"
#include "cluster-judge.h"
#include "model.h"
#include "remote.h"
#include "score.h"
#include "tool.h"

#define PAGE_VERSION 1
#define ASK_MS 20000
#define REPORT_S 25

struct view {
    xmlDoc *doc;
    xmlXPathContext *context;
};

static char *
attribute(const xmlNode *node, const char *name)
{
    xmlChar *value = xmlGetProp(node, (const xmlChar *)name);
    char *text = g_strdup((const char *)value);
    xmlFree(value);
    return text;
}

static json_t *
text_of(const xmlNode *node, const char *name)
{
    g_autofree char *value = attribute(node, name);
    json_t *text = value == NULL ? NULL : json_string(value);
    return text == NULL ? json_null() : text;
}

static json_t *
flag_of(const xmlNode *node, const char *name)
{
    g_autofree char *value = attribute(node, name);
    return json_boolean(g_strcmp0(value, "true") == 0);
}

typedef void each_node(json_t *page, const xmlNode *node);

static void foreach (const struct view *view, const char *path, json_t * page, each_node * each)
{
    xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)path, view->context);
    for (int i = 0; found != NULL && found->nodesetval != NULL && i < found->nodesetval->nodeNr;
         i++) {
        each(page, found->nodesetval->nodeTab[i]);
    }
    xmlXPathFreeObject(found);
}

static json_t *
node_of(json_t *page, const char *name)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        if (g_strcmp0(ask_text(node, "name"), name) == 0) {
            return node;
        }
    }
    return NULL;
}

static void
add_node(json_t *page, const xmlNode *xml)
{
    static const char *const flags[] = {"online", "standby", "maintenance", "pending", "unclean"};
    json_t *node = json_pack("{s:o, s:o, s:n, s:n, s:n, s:n, s:n, s:n}", "name",
                             text_of(xml, "name"), "health", text_of(xml, "health"), "role",
                             "score", "state", "health_text", "error", "report");
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        json_object_set_new(node, flags[i], flag_of(xml, flags[i]));
    }
    json_array_append_new(json_object_get(page, "nodes"), node);
}

/* The scanner's instances; one that serves outweighs an engine of part=engine beside it. */
static void
add_instance(json_t *page, const xmlNode *xml)
{
    g_autofree char *id = attribute(xml, "id");
    g_autofree char *role = attribute(xml, "role");
    g_autofree char *clone = xml->parent == NULL ? NULL : attribute(xml->parent, "id");
    gboolean cloned = xml->parent != NULL && strcmp((const char *)xml->parent->name, "clone") == 0;
    gboolean serves = g_strcmp0(role, "Promoted") == 0 || !cloned;
    if (serves || json_is_null(json_object_get(page, "resource"))) {
        json_object_set_new(page, "resource", json_string(cloned ? clone : id));
    }
    for (const xmlNode *on = xml->children; on != NULL; on = on->next) {
        g_autofree char *name = on->type == XML_ELEMENT_NODE ? attribute(on, "name") : NULL;
        json_t *node = name == NULL ? NULL : node_of(page, name);
        if (node != NULL && (serves || json_is_null(json_object_get(node, "role")))) {
            json_object_set_new(node, "role", json_string(serves && !cloned ? "Promoted" : role));
        }
    }
}

static void
add_attribute(json_t *page, const xmlNode *xml)
{
    g_autofree char *owner = attribute(xml->parent, "name");
    g_autofree char *name = attribute(xml, "name");
    json_t *node = node_of(page, owner);
    if (node == NULL || name == NULL) {
        return;
    }
    g_autofree char *value = attribute(xml, "value");
    if (g_str_has_prefix(name, "master-")) {
        json_object_set_new(node, "score", json_integer(g_ascii_strtoll(value, NULL, 10)));
    } else if (strcmp(name, SCORE_TEXT_ATTRIBUTE) == 0) {
        json_object_set_new(node, "state", text_of(xml, "value"));
    } else if (strcmp(name, "#health-postern") == 0) {
        json_object_set_new(node, "health_text", text_of(xml, "value"));
    }
}

static void
add_failure(json_t *page, const xmlNode *xml)
{
    json_array_append_new(json_object_get(page, "failures"),
                          json_pack("{s:o, s:o, s:o, s:o}", "operation", text_of(xml, "op_key"),
                                    "node", text_of(xml, "node"), "reason",
                                    text_of(xml, "exitreason"), "status",
                                    text_of(xml, "exitstatus")));
}

static void
add_fencing(json_t *page, const xmlNode *xml)
{
    json_array_append_new(json_object_get(page, "fencing"),
                          json_pack("{s:o, s:o, s:o}", "target", text_of(xml, "target"), "status",
                                    text_of(xml, "status"), "time", text_of(xml, "completed")));
}

static void
add_device(json_t *page, const xmlNode *xml)
{
    json_array_append_new(json_object_get(json_object_get(page, "cluster"), "devices"),
                          text_of(xml, "id"));
}

static void
add_summary(json_t *page, const xmlNode *xml)
{
    json_t *cluster = json_object_get(page, "cluster");
    if (strcmp((const char *)xml->name, "current_dc") == 0) {
        json_object_set_new(cluster, "dc", text_of(xml, "name"));
        json_object_set_new(cluster, "quorum", flag_of(xml, "with_quorum"));
    } else {
        json_object_set_new(cluster, "maintenance", flag_of(xml, "maintenance-mode"));
        json_object_set_new(cluster, "fencing", flag_of(xml, "stonith-enabled"));
    }
}

/* crm_mon names an agent with one colon or two behind the class, by its version. */
#define SCANNER "//resources//resource[contains(@resource_agent, ':postern:scanner')]"

static const struct {
    const char *path;
    each_node *each;
} parts[] = {
    {"//summary/current_dc | //summary/cluster_options", add_summary},
    {"/*/nodes/node", add_node},
    {SCANNER, add_instance},
    {"//node_attributes/node/attribute", add_attribute},
    {"//failures/failure", add_failure},
    {"//fence_history/fence_event[@action != 'on']", add_fencing},
    {"//resources//resource[starts-with(@resource_agent, 'stonith:')]", add_device},
};

static void
take_view(json_t *page, xmlDoc *doc)
{
    struct view view = {.doc = doc, .context = xmlXPathNewContext(doc)};
    json_object_set_new(page, "cluster", json_pack("{s:[], s:b}", "devices", "maintenance", 0));
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        foreach (&view, parts[i].path, page, parts[i].each)
            ;
    }
    xmlXPathFreeContext(view.context);
}

static void
ask_cluster(json_t *page)
{
    const char *const argv[] = {
        TOOL_CRM_MON,      "-1", "--inactive", "--show-node-attributes", "--fence-history=2",
        "--output-as=xml", NULL};
    g_autofree char *text = NULL;
    g_autofree char *error = NULL;
    int rc = tool_output(argv, NULL, NULL, ASK_MS, &text, &error);
    xmlDoc *doc = rc != 0 ? NULL
                          : xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                                          XML_PARSE_NONET | XML_PARSE_NOERROR |
                                              XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS);
    if (doc == NULL) {
        json_object_set_new(
            page, "cluster_error",
            json_string(error == NULL ? "crm_mon did not print XML" : "does Pacemaker run here?"));
        return;
    }
    take_view(page, doc);
    xmlFreeDoc(doc);
}

static void
take_report(json_t *node, const struct remote_job *job)
{
    json_error_t wrong;
    json_t *report = job->result == 0 ? json_loads(job->output, 0, &wrong) : NULL;
    if (json_is_object(report)) {
        json_object_set_new(node, "report", report);
        return;
    }
    json_decref(report);
    if (job->result == 0) {
        json_object_set_new(node, "error", json_string("its report cannot be read"));
    } else {
        json_object_set_new(node, "error", json_string(job->error));
    }
}

/* Nodes that the cluster has lost are not asked: they would only cost the time to find out. */
static void
ask_nodes(json_t *page, const char *config)
{
    static const char *const argv[] = {"postern", "cluster", "node", "report", NULL};
    g_autofree char *error = NULL;
    g_autoptr(model_t) model = NULL;
    int rc = json_array_size(json_object_get(page, "nodes")) == 0
                 ? -ENOTCONN
                 : model_read(NULL, &model, &error);
    g_autoptr(GPtrArray) words = remote_words(argv, config, rc < 0 ? NULL : model->postfix_dirs);
    json_t *nodes = json_object_get(page, "nodes");
    size_t n = json_array_size(nodes);
    g_autofree struct remote_job *jobs = g_new0(struct remote_job, n);
    g_autofree json_t **asked = g_new0(json_t *, n);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *node = json_array_get(nodes, i);
        if (json_is_true(json_object_get(node, "online"))) {
            jobs[used] = (struct remote_job){.node = ask_text(node, "name"),
                                             .argv = (const char *const *)words->pdata,
                                             .timeout_s = REPORT_S};
            asked[used++] = node;
        }
    }
    remote_run_all(jobs, used);
    for (size_t i = 0; i < used; i++) {
        take_report(asked[i], &jobs[i]);
        remote_job_clear(&jobs[i]);
    }
}

json_t *
cluster_page(const struct settings *settings, const char *config)
{
    json_t *page =
        json_pack("{s:i, s:s, s:I, s:n, s:n, s:n, s:[], s:[], s:[], s:[], s:[]}", "version",
                  PAGE_VERSION, "node", remote_local_node(), "time",
                  (json_int_t)(g_get_real_time() / G_USEC_PER_SEC), "resource", "cluster",
                  "cluster_error", "nodes", "failures", "fencing", "differences", "findings");
    ask_cluster(page);
    ask_nodes(page, config);
    json_object_set_new(page, "until", json_integer(g_get_real_time() / G_USEC_PER_SEC));
    cluster_judge(page, settings);
    return page;
}

const json_t *
cluster_page_active(const json_t *page)
{
    size_t i;
    const json_t *node;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        if (g_strcmp0(ask_text(node, "role"), "Promoted") == 0) {
            return node;
        }
    }
    return NULL;
}

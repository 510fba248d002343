/* SPDX-License-Identifier: GPL-2.0-only */
#include "simulate.h"

#include <errno.h>
#include <string.h>

#include "cib.h"
#include "scratch.h"
#include "tool.h"

#define SIMULATE_MS 60000

static void
action_free(void *p)
{
    struct simulate_action *action = p;
    g_free(action->action);
    g_free(action->resource);
    g_free(action->from);
    g_free(action->to);
    g_free(action);
}

void
simulation_free(struct simulation *simulation)
{
    if (simulation == NULL) {
        return;
    }
    g_ptr_array_unref(simulation->actions);
    if (simulation->weights != NULL) {
        g_ptr_array_unref(simulation->weights);
    }
    xmlFreeDoc(simulation->output);
    xmlFreeDoc(simulation->after);
    g_free(simulation);
}

/* <rsc_action action resource node|source dest/>: who moves has both, who starts a node. */
static void
read_action(struct simulation *simulation, const xmlNode *xml)
{
    struct simulate_action *action = g_new0(struct simulate_action, 1);
    g_autofree char *node = cib_attribute(xml, "node");
    g_autofree char *source = cib_attribute(xml, "source");
    action->action = cib_attribute(xml, "action");
    action->resource = cib_attribute(xml, "resource");
    action->to = cib_attribute(xml, "dest");
    char *instance = action->resource == NULL ? NULL : strchr(action->resource, ':');
    if (instance != NULL) {
        *instance = '\0';
    }
    if (action->to != NULL) {
        action->from = g_steal_pointer(&source);
    } else if (g_strcmp0(action->action, "stop") == 0 || g_strcmp0(action->action, "demote") == 0) {
        action->from = node != NULL ? g_steal_pointer(&node) : g_steal_pointer(&source);
    } else {
        action->to = node != NULL ? g_steal_pointer(&node) : g_steal_pointer(&source);
    }
    g_ptr_array_add(simulation->actions, action);
}

static int
after_read(const char *path, xmlDoc **after_r, char **error_r)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(path, &text, NULL, &error)) {
        *error_r = g_strdup_printf(TOOL_CRM_SIMULATE " has written nothing: %s", error->message);
        return -EIO;
    }
    return cib_parse(text, after_r, error_r);
}

static int
run(xmlDoc *cib, const char *after, char **text_r, char **error_r)
{
    g_autofree char *path = scratch_file(cib, error_r);
    if (path == NULL) {
        return -EIO;
    }
    const char *const argv[] = {
        TOOL_CRM_SIMULATE, "--simulate", "--show-scores",   "--xml-file", path,
        "--save-output",   after,        "--output-as=xml", NULL};
    int rc = tool_output(argv, NULL, NULL, SIMULATE_MS, text_r, error_r);
    scratch_remove(path);
    return rc > 0 ? -EREMOTEIO : rc;
}

int
simulate(xmlDoc *cib, struct simulation **ret, char **error_r)
{
    g_autoptr(simulation_t) simulation = g_new0(struct simulation, 1);
    g_autofree char *text = NULL;
    simulation->actions = g_ptr_array_new_with_free_func(action_free);
    g_autofree char *after = scratch_file(cib, error_r);
    int rc = after == NULL ? -EIO : run(cib, after, &text, error_r);
    if (rc == 0) {
        rc = after_read(after, &simulation->after, error_r);
    }
    if (after != NULL) {
        scratch_remove(after);
    }
    if (rc == 0 && (simulation->output = cib_parse_xml(text)) == NULL) {
        *error_r = g_strdup(TOOL_CRM_SIMULATE " did not print XML");
        rc = -EBADMSG;
    }
    if (rc < 0) {
        return rc;
    }
    g_autoptr(GPtrArray) actions = cib_all(simulation->output, "/*/actions/rsc_action");
    for (guint i = 0; i < actions->len; i++) {
        read_action(simulation, g_ptr_array_index(actions, i));
    }
    simulation->weights = cib_all(simulation->output, "//node_weight");
    *ret = g_steal_pointer(&simulation);
    return 0;
}

/* <transient_attributes><instance_attributes>, made where it is missing. */
static xmlNode *
attribute_set(xmlDoc *cib, const char *node)
{
    xmlNode *set = cib_find(cib,
                            "//status/node_state[@uname='%s']/transient_attributes"
                            "/instance_attributes",
                            node);
    xmlNode *state = cib_find(cib, "//status/node_state[@uname='%s']", node);
    if (set == NULL && state != NULL) {
        g_autofree char *number = cib_attribute(state, "id");
        g_autofree char *id = g_strconcat("status-", number, NULL);
        xmlNode *transient = cib_add(state, "transient_attributes", "id", number, NULL);
        set = cib_add(transient, "instance_attributes", "id", id, NULL);
    }
    return set;
}

void
simulate_attribute(xmlDoc *cib, const char *node, const char *name, const char *value)
{
    xmlNode *set = attribute_set(cib, node);
    if (set == NULL) {
        return;
    }
    g_autofree char *base = cib_attribute(set, "id");
    g_autofree char *id = g_strconcat(base, "-", name, NULL);
    for (xmlNode *pair = set->children, *next; pair != NULL; pair = next) {
        next = pair->next;
        if (cib_attribute_is(pair, "name", name)) {
            xmlUnlinkNode(pair);
            xmlFreeNode(pair);
        }
    }
    if (value != NULL) {
        cib_add(set, "nvpair", "id", id, "name", name, "value", value, NULL);
    }
}

void
simulate_standby(xmlDoc *cib, const char *node)
{
    simulate_attribute(cib, node, "standby", "on");
}

const struct simulate_action *
simulation_stranger(const struct simulation *simulation, const char *own)
{
    for (guint i = 0; i < simulation->actions->len; i++) {
        const struct simulate_action *action = g_ptr_array_index(simulation->actions, i);
        if (g_strcmp0(action->resource, own) != 0) {
            return action;
        }
    }
    return NULL;
}

gboolean
simulation_has(const struct simulation *simulation, const char *action, const char *resource,
               const char *node)
{
    for (guint i = 0; i < simulation->actions->len; i++) {
        const struct simulate_action *one = g_ptr_array_index(simulation->actions, i);
        if (g_strcmp0(one->resource, resource) == 0 && g_strcmp0(one->action, action) == 0 &&
            (node == NULL || g_strcmp0(one->to, node) == 0 || g_strcmp0(one->from, node) == 0)) {
            return TRUE;
        }
    }
    return FALSE;
}

char *
simulate_action_text(const struct simulate_action *action)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%s %s", action->action, action->resource);
    if (action->from != NULL && action->to != NULL) {
        g_string_append_printf(text, " from %s to %s", action->from, action->to);
    } else if (action->from != NULL || action->to != NULL) {
        g_string_append_printf(text, " on %s", action->to != NULL ? action->to : action->from);
    }
    return g_string_free(text, FALSE);
}

char *
simulation_text(const struct simulation *simulation)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < simulation->actions->len; i++) {
        g_autofree char *one = simulate_action_text(g_ptr_array_index(simulation->actions, i));
        g_string_append_printf(text, "%s%s", i == 0 ? "" : ", ", one);
    }
    return text->len > 0 ? g_string_free(text, FALSE)
                         : (g_string_free(text, TRUE), g_strdup("nothing"));
}

/* The weights before the members' own colocations are those whose function names the group. */
static gboolean
is_ban(const xmlNode *weight, const char *const *ids, const char *node)
{
    g_autofree char *function = cib_attribute(weight, "function");
    g_autofree char *id = cib_attribute(weight, "id");
    return function != NULL && strstr(function, "group") != NULL && id != NULL &&
           g_strv_contains(ids, id) && cib_attribute_is(weight, "node", node) &&
           cib_attribute_is(weight, "score", "-INFINITY");
}

gboolean
simulation_allows(const struct simulation *simulation, const char *const *ids, const char *node)
{
    for (guint i = 0; i < simulation->weights->len; i++) {
        if (is_ban(g_ptr_array_index(simulation->weights, i), ids, node)) {
            return FALSE;
        }
    }
    return TRUE;
}

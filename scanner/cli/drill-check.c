/* SPDX-License-Identifier: GPL-2.0-only */
#include "drill-check.h"

#include "cib.h"
#include "drill-rule.h"
#include "fencing.h"
#include "ready.h"

void
drill_route_clear(struct drill_route *route)
{
    g_clear_pointer(&route->from, g_free);
    g_clear_pointer(&route->to, g_free);
    g_clear_pointer(&route->address, g_free);
}

static char *
group_address(const struct model *model)
{
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (member->kind == MODEL_ADDRESS) {
            return cib_nvpair(member->xml, "instance_attributes", "ip");
        }
    }
    return NULL;
}

static char *
choose(const struct model *model, const char *from)
{
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (g_strcmp0(node->name, from) != 0 && ready_node(model, node->name)) {
            return g_strdup(node->name);
        }
    }
    return NULL;
}

static void
check_ready(const struct model *model, const char *node, GPtrArray *refusals)
{
    if (!ready_node(model, node)) {
        g_autofree char *text = ready_text(model, node);
        refuse(refusals, node, "wait for it: postern cluster wait",
               "its scanner is not ready (%s), so a drill would cost mail its answer", text);
    }
}

static void
check_route(const struct model *model, const char *to, GPtrArray *refusals,
            struct drill_route *route)
{
    g_autofree char *serving = ready_serving(model);
    route->from = g_strdup(model->active);
    route->to = to != NULL ? g_strdup(to) : choose(model, route->from);
    if (route->from == NULL) {
        refuse(refusals, model->group, "see crm_mon -1", "it does not run whole on one node");
        return;
    }
    if (g_strcmp0(serving, route->from) != 0) {
        refuse(refusals, model->scanner.primitive, "see crm_mon -1",
               "it does not serve on %s, where the mail group is", route->from);
    }
    check_ready(model, route->from, refusals);
    if (route->to == NULL) {
        refuse(refusals, "nodes", "postern cluster wait --all",
               "there is no other node whose scanner is ready");
    } else if (g_strcmp0(route->to, route->from) == 0) {
        refuse(refusals, route->to, "name another node", "the mail group is there already");
    } else {
        check_ready(model, route->to, refusals);
    }
}

static void
check_fencing(const struct model *model, gboolean live, GPtrArray *refusals)
{
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        enum fencing how = !fencing_enabled(model) ? FENCING_NONE
                           : live                  ? fencing_of_live(model, node->name)
                                                   : fencing_of(model, node->name);
        if (node->member && how == FENCING_NONE) {
            refuse(refusals, node->name, "configure fencing, and try it",
                   "nothing can fence it: if it does not stop when it has to, mail stays down");
        }
    }
}

static void
check_left(const struct model *model, GPtrArray *refusals)
{
    g_auto(GStrv) left = drill_rule_left(model->doc);
    for (char **text = left; *text != NULL; text++) {
        refuse(refusals, "earlier drill",
               "postern cluster drill --clear, unless one runs at this moment", "%s is left of it",
               *text);
    }
}

void
drill_check(const struct model *model, const char *to, gboolean live, GPtrArray *refusals,
            struct drill_route *route_r)
{
    *route_r = (struct drill_route){0};
    if (model->scanner.primitive == NULL) {
        refuse(refusals, "resources", "postern cluster setup", "the cluster has no scanner");
        return;
    }
    if (model->group == NULL || !cib_is_id(model->group)) {
        refuse(refusals, "resources", "name it: --group",
               "it is not clear which group is the mail's");
        return;
    }
    refuse_unsettled(refusals, model);
    if (live) {
        refuse_busy(refusals, model);
    }
    check_fencing(model, live, refusals);
    check_left(model, refusals);
    check_route(model, to, refusals, route_r);
    route_r->address = group_address(model);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "plan.h"

#include <string.h>

#include "cib.h"
#include "simulate.h"

/* A load that takes longer than this is that of a slow or busy machine. */
#define USUAL_LOAD_S 30

const struct plan_step plan_setup_steps[PLAN_SETUP_STEPS] = {
    {"the scanner on every node, loading its signatures; nothing depends on it", plan_load,
     "every node is ready"},
    {"the scanner serves beside the mail; nothing depends on it yet", plan_promote,
     "it is promoted where the mail is"},
    {"mail follows the scanner, to where signatures are in memory", plan_join,
     "the cluster is at rest"},
};

const struct plan_step plan_remove_steps[PLAN_REMOVE_STEPS] = {
    {"nothing depends on the scanner any more, and it stops", plan_leave, "it has stopped"},
    {"the scanner is taken out of the configuration", plan_delete, "the cluster is at rest"},
};

static unsigned
stretch(unsigned seconds, unsigned load_seconds)
{
    return load_seconds <= USUAL_LOAD_S ? seconds : seconds * load_seconds / USUAL_LOAD_S;
}

struct plan_timeouts
plan_timeouts(unsigned load_seconds)
{
    return (struct plan_timeouts){
        .start = stretch(30, load_seconds),
        .stop = stretch(60, load_seconds),
        .monitor = stretch(20, load_seconds),
        .promote = stretch(90, load_seconds),
        .demote = stretch(30, load_seconds),
    };
}

void
plan_free(struct plan *plan)
{
    if (plan == NULL) {
        return;
    }
    g_free(plan->name);
    g_free(plan->clone);
    g_free(plan->group);
    g_free(plan->active);
    g_free(plan->config);
    g_free(plan->queue_directory);
    g_ptr_array_unref(plan->filesystems);
    g_ptr_array_unref(plan->servers);
    g_ptr_array_unref(plan->allowed);
    g_ptr_array_unref(plan->banned);
    g_free(plan);
}

static struct plan *
empty(void)
{
    struct plan *plan = g_new0(struct plan, 1);
    plan->filesystems = g_ptr_array_new_with_free_func(g_free);
    plan->servers = g_ptr_array_new_with_free_func(g_free);
    plan->allowed = g_ptr_array_new_with_free_func(g_free);
    plan->banned = g_ptr_array_new_with_free_func(g_free);
    plan->timeouts = plan_timeouts(0);
    return plan;
}

static gboolean
has(const GPtrArray *names, const char *name)
{
    for (guint i = 0; i < names->len; i++) {
        if (strcmp(g_ptr_array_index(names, i), name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
add_filesystem(struct plan *plan, const struct model *model, const char *path)
{
    const struct model_member *member = path == NULL ? NULL : model_filesystem(model, path);
    if (member != NULL && !has(plan->filesystems, member->id)) {
        g_ptr_array_add(plan->filesystems, g_strdup(member->id));
    }
    return member != NULL;
}

/* By the scheduler's own sums, so rules and preferences of all kinds are in it. */
static int
find_places(struct plan *plan, const struct model *model, char **error_r)
{
    g_autoptr(simulation_t) now = NULL;
    g_autoptr(GPtrArray) ids = g_ptr_array_new();
    int rc = simulate(model->doc, &now, error_r);
    if (rc < 0) {
        return rc;
    }
    g_ptr_array_add(ids, model->group);
    for (guint i = 0; i < model->members->len; i++) {
        g_ptr_array_add(ids, ((const struct model_member *)model->members->pdata[i])->id);
    }
    g_ptr_array_add(ids, NULL);
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (node->member) {
            gboolean may = simulation_allows(now, (const char *const *)ids->pdata, node->name);
            g_ptr_array_add(may ? plan->allowed : plan->banned, g_strdup(node->name));
        }
    }
    return 0;
}

/* Every id that the plan makes is the name or begins with it and '-', or ends with it. */
static char *
taken(const struct model *model, const char *name)
{
    static const char *const forms[] = {"%s", "%s-clone", "mail-with-%s", "%s-beside-mail"};
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", -1);
        g_autofree char *id = g_strjoinv(name, parts);
        if (cib_find(model->doc, "//configuration//*[@id='%s']", id) != NULL) {
            return g_steal_pointer(&id);
        }
    }
    return NULL;
}

static int
check_names(const struct model *model, const char *name, char **error_r)
{
    g_autofree char *used = NULL;
    if (!cib_is_id(name)) {
        *error_r = g_strdup("the scanner's name begins with a letter and has letters, digits, '-', "
                            "'_' and '.' only");
        return -1;
    }
    if ((used = taken(model, name)) != NULL) {
        *error_r = g_strdup_printf("the name %s is taken in the cluster's configuration; give "
                                   "another one: --name",
                                   used);
        return -1;
    }
    return 0;
}

struct plan *
plan_new(const struct model *model, const char *name, const char *config, const char *state_dir,
         const char *queue_directory, char **error_r)
{
    g_autoptr(plan_t) plan = empty();
    g_autofree char *symmetric = model_property(model, "symmetric-cluster");
    if (check_names(model, name, error_r) < 0) {
        return NULL;
    }
    plan->name = g_strdup(name);
    plan->clone = g_strconcat(name, "-clone", NULL);
    plan->group = g_strdup(model->group);
    plan->active = g_strdup(model->active);
    plan->config = g_strdup(config);
    plan->queue_directory = g_strdup(queue_directory);
    plan->opt_in = symmetric != NULL && cib_is_false(symmetric);
    if (!add_filesystem(plan, model, state_dir)) {
        *error_r = g_strdup_printf("state_dir (%s) is on no file system of group %s: set it to a "
                                   "directory there in postern.conf on every node",
                                   state_dir, model->group);
        return NULL;
    }
    add_filesystem(plan, model, queue_directory);
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (model_is_server(member->kind)) {
            g_ptr_array_add(plan->servers, g_strdup(member->id));
        }
    }
    return find_places(plan, model, error_r) < 0 ? NULL : g_steal_pointer(&plan);
}

struct plan *
plan_of_existing(const struct model *model)
{
    struct plan *plan = empty();
    const struct model_scanner *scanner = &model->scanner;
    plan->name = g_strdup(scanner->primitive);
    plan->clone = g_strdup(scanner->clone != NULL ? scanner->clone : scanner->primitive);
    plan->group = g_strdup(model->group);
    plan->active = g_strdup(model->active);
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (node->member) {
            g_ptr_array_add(plan->allowed, g_strdup(node->name));
        }
    }
    return plan;
}

/* Edits */

static xmlNode *
section(xmlDoc *cib, const char *name)
{
    xmlNode *found = cib_find(cib, "/cib/configuration/%s", name);
    return found != NULL ? found : cib_add(cib_find(cib, "/cib/configuration"), name, NULL);
}

static void
remove_node(xmlNode *node)
{
    if (node != NULL) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
}

static xmlNode *
add_set(xmlNode *parent, const char *tag, const char *owner)
{
    g_autofree char *id = g_strconcat(owner, "-", tag, NULL);
    return cib_add(parent, tag, "id", id, NULL);
}

static void
add_pair(xmlNode *set, const char *name, const char *value)
{
    if (value != NULL) {
        g_autofree char *base = cib_attribute(set, "id");
        g_autofree char *id = g_strconcat(base, "-", name, NULL);
        cib_add(set, "nvpair", "id", id, "name", name, "value", value, NULL);
    }
}

static void
add_operation(xmlNode *operations, const struct plan *plan, const char *name, const char *role,
              const char *interval, unsigned timeout)
{
    g_autofree char *limit = g_strdup_printf("%us", timeout);
    g_autofree char *id = g_strdup_printf("%s-%s-interval-%s", plan->name, name, interval);
    cib_add(operations, "op", "id", id, "name", name, "interval", interval, "timeout", limit,
            "role", role, NULL);
}

static void
add_operations(xmlNode *primitive, const struct plan *plan)
{
    const struct plan_timeouts *t = &plan->timeouts;
    xmlNode *operations = cib_add(primitive, "operations", NULL);
    add_operation(operations, plan, "start", NULL, "0s", t->start);
    add_operation(operations, plan, "stop", NULL, "0s", t->stop);
    add_operation(operations, plan, "promote", NULL, "0s", t->promote);
    add_operation(operations, plan, "demote", NULL, "0s", t->demote);
    /* Pacemaker tells monitors apart by their interval. */
    add_operation(operations, plan, "monitor", "Promoted", "7s", t->monitor);
    add_operation(operations, plan, "monitor", "Unpromoted", "10s", t->monitor);
}

static void
add_primitive(xmlNode *clone, const struct plan *plan)
{
    xmlNode *primitive = cib_add(clone, "primitive", "id", plan->name, "class", "ocf", "provider",
                                 "postern", "type", "scanner", NULL);
    if (plan->config != NULL || plan->queue_directory != NULL) {
        xmlNode *parameters = add_set(primitive, "instance_attributes", plan->name);
        add_pair(parameters, "config", plan->config);
        add_pair(parameters, "queue_directory", plan->queue_directory);
    }
    xmlNode *meta = add_set(primitive, "meta_attributes", plan->name);
    add_pair(meta, "migration-threshold", "3");
    add_pair(meta, "failure-timeout", "10min");
    add_operations(primitive, plan);
}

static void
add_places(xmlNode *constraints, const struct plan *plan)
{
    for (guint i = 0; i < plan->banned->len; i++) {
        const char *node = g_ptr_array_index(plan->banned, i);
        g_autofree char *id = g_strdup_printf("%s-not-on-%s", plan->name, node);
        cib_add(constraints, "rsc_location", "id", id, "rsc", plan->clone, "node", node, "score",
                "-INFINITY", NULL);
    }
    for (guint i = 0; plan->opt_in && i < plan->allowed->len; i++) {
        const char *node = g_ptr_array_index(plan->allowed, i);
        g_autofree char *id = g_strdup_printf("%s-on-%s", plan->name, node);
        cib_add(constraints, "rsc_location", "id", id, "rsc", plan->clone, "node", node, "score",
                "0", NULL);
    }
}

static void
add_orders_before(xmlNode *constraints, const struct plan *plan)
{
    for (guint i = 0; i < plan->filesystems->len; i++) {
        const char *fs = g_ptr_array_index(plan->filesystems, i);
        g_autofree char *id = g_strdup_printf("%s-before-%s", fs, plan->name);
        cib_add(constraints, "rsc_order", "id", id, "kind", "Mandatory", "first", fs,
                "first-action", "start", "then", plan->clone, "then-action", "promote", NULL);
    }
}

/* As long as mail does not depend on it, it must not serve elsewhere. */
static void
add_beside(xmlNode *constraints, const struct plan *plan)
{
    g_autofree char *id = g_strdup_printf("%s-beside-mail", plan->name);
    g_autofree char *rule_id = g_strconcat(id, "-rule", NULL);
    g_autofree char *expr_id = g_strconcat(id, "-rule-expr", NULL);
    xmlNode *location = cib_add(constraints, "rsc_location", "id", id, "rsc", plan->clone, NULL);
    xmlNode *rule =
        cib_add(location, "rule", "id", rule_id, "role", "Promoted", "score", "-INFINITY", NULL);
    cib_add(rule, "expression", "id", expr_id, "attribute", "#uname", "operation", "ne", "value",
            plan->active, NULL);
}

void
plan_load(xmlDoc *cib, const void *data)
{
    const struct plan *plan = data;
    xmlNode *clone = cib_add(section(cib, "resources"), "clone", "id", plan->clone, NULL);
    add_primitive(clone, plan);
    xmlNode *meta = add_set(clone, "meta_attributes", plan->clone);
    add_pair(meta, "promotable", "true");
    add_pair(meta, "promoted-max", "1");
    add_pair(meta, "interleave", "true");
    add_pair(meta, "notify", "false");
    add_pair(meta, "allow-unhealthy-nodes", "true"); /* on the primitive nobody looks at it */
    add_pair(meta, "target-role", "Unpromoted");
    xmlNode *constraints = section(cib, "constraints");
    add_places(constraints, plan);
    add_orders_before(constraints, plan);
    add_beside(constraints, plan);
}

static void
drop_target_role(xmlDoc *cib, const char *clone)
{
    remove_node(cib_find(
        cib, "//resources//*[@id='%s']/meta_attributes/nvpair[@name='target-role']", clone));
}

static void
set_timeouts(xmlDoc *cib, const struct plan *plan)
{
    xmlNode *primitive = cib_find(cib, "//resources//primitive[@id='%s']", plan->name);
    if (primitive != NULL) {
        remove_node(cib_find(cib, "//resources//primitive[@id='%s']/operations", plan->name));
        add_operations(primitive, plan);
    }
}

void
plan_promote(xmlDoc *cib, const void *data)
{
    const struct plan *plan = data;
    drop_target_role(cib, plan->clone);
    set_timeouts(cib, plan);
}

void
plan_join(xmlDoc *cib, const void *data)
{
    const struct plan *plan = data;
    xmlNode *constraints = section(cib, "constraints");
    g_autofree char *id = g_strdup_printf("mail-with-%s", plan->name);
    remove_node(cib_find(cib, "//rsc_location[@id='%s-beside-mail']", plan->name));
    cib_add(constraints, "rsc_colocation", "id", id, "score", "INFINITY", "rsc", plan->group,
            "with-rsc", plan->clone, "with-rsc-role", "Promoted", NULL);
    for (guint i = 0; i < plan->servers->len; i++) {
        const char *server = g_ptr_array_index(plan->servers, i);
        g_autofree char *order = g_strdup_printf("%s-before-%s", plan->name, server);
        cib_add(constraints, "rsc_order", "id", order, "kind", "Optional", "first", plan->clone,
                "first-action", "promote", "then", server, "then-action", "start", NULL);
    }
}

static GPtrArray *
naming(xmlDoc *cib, const struct plan *plan)
{
    return cib_all(cib,
                   "//constraints/*[@rsc='%1$s' or @with-rsc='%1$s' or @first='%1$s' or "
                   "@then='%1$s' or @rsc='%2$s' or @with-rsc='%2$s' or @first='%2$s' or "
                   "@then='%2$s']",
                   plan->clone, plan->name);
}

void
plan_leave(xmlDoc *cib, const void *data)
{
    const struct plan *plan = data;
    g_autoptr(GPtrArray) constraints = naming(cib, plan);
    xmlNode *owner = cib_find(cib, "//resources//*[@id='%s']", plan->clone);
    for (guint i = 0; i < constraints->len; i++) {
        remove_node(g_ptr_array_index(constraints, i));
    }
    if (owner != NULL) {
        xmlNode *meta = cib_find(cib, "//resources//*[@id='%s']/meta_attributes", plan->clone);
        drop_target_role(cib, plan->clone);
        add_pair(meta != NULL ? meta : add_set(owner, "meta_attributes", plan->clone),
                 "target-role", "Stopped");
    }
}

void
plan_delete(xmlDoc *cib, const void *data)
{
    const struct plan *plan = data;
    remove_node(cib_find(cib, "//resources//*[@id='%s']", plan->clone));
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "refuse.h"

#include <stdarg.h>
#include <string.h>

#include "cib.h"
#include "fencing.h"
#include "scratch.h"
#include "score.h"
#include "tool.h"

#define TOOL_MS 30000
#define BUSY_US (10 * G_USEC_PER_SEC)

static void
refusal_free(void *p)
{
    struct refusal *refusal = p;
    g_free(refusal->where);
    g_free(refusal->what);
    g_free(refusal->todo);
    g_free(refusal);
}

GPtrArray *
refusals_new(void)
{
    return g_ptr_array_new_with_free_func(refusal_free);
}

static void add(GPtrArray *refusals, gboolean is_remark, const char *where, const char *todo,
                const char *format, va_list args) G_GNUC_PRINTF(5, 0);

static void
add(GPtrArray *refusals, gboolean is_remark, const char *where, const char *todo,
    const char *format, va_list args)
{
    struct refusal *refusal = g_new0(struct refusal, 1);
    refusal->is_remark = is_remark;
    refusal->where = g_strdup(where);
    refusal->what = g_strdup_vprintf(format, args);
    refusal->todo = g_strdup(todo);
    g_ptr_array_add(refusals, refusal);
}

void
refuse(GPtrArray *refusals, const char *where, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(refusals, FALSE, where, todo, format, args);
    va_end(args);
}

void
remark(GPtrArray *refusals, const char *where, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(refusals, TRUE, where, todo, format, args);
    va_end(args);
}

guint
refusals_count(const GPtrArray *refusals)
{
    guint n = 0;
    for (guint i = 0; i < refusals->len; i++) {
        n += !((const struct refusal *)g_ptr_array_index(refusals, i))->is_remark;
    }
    return n;
}

/* Unsettled */

static void
refuse_node(GPtrArray *refusals, const struct model_node *node)
{
    if (!node->member) {
        return; /* refuse_unfit() */
    }
    if (!node->online) {
        g_autofree char *todo =
            g_strdup_printf("start the cluster on %s, then come again", node->name);
        refuse(refusals, node->name, todo, "the node is not online, so it cannot be looked at");
    } else if (node->standby) {
        g_autofree char *todo =
            g_strdup_printf("pcs node unstandby %s, or crm node online %s", node->name, node->name);
        refuse(refusals, node->name, todo,
               "the node is in standby, so the scanner cannot load there");
    }
    if (node->maintenance) {
        g_autofree char *todo = g_strdup_printf("pcs node unmaintenance %s, or crm node ready %s",
                                                node->name, node->name);
        refuse(refusals, node->name, todo, "the node is in maintenance");
    }
}

static void
refuse_member(GPtrArray *refusals, const struct model *model, const struct model_member *member)
{
    g_autofree char *maintenance = cib_value(model->doc,
                                             "//resources//*[@id='%s']/ancestor-or-self::*/"
                                             "meta_attributes/nvpair[@name='maintenance']/@value",
                                             member->id);
    if (cib_is_true(maintenance)) {
        refuse(refusals, member->id, "take the meta attribute maintenance away",
               "the resource is in maintenance");
    } else if (!member->managed) {
        g_autofree char *todo = g_strdup_printf("pcs resource manage %s, or crm resource manage %s",
                                                member->id, member->id);
        refuse(refusals, member->id, todo, "the resource is unmanaged");
    }
}

/* Returns whether the whole cluster is in maintenance. */
static gboolean
refuse_properties(GPtrArray *refusals, const struct model *model)
{
    g_autofree char *maintenance = model_property(model, "maintenance-mode");
    g_autofree char *stop_all = model_property(model, "stop-all-resources");
    if (cib_is_true(maintenance)) {
        refuse(refusals, "maintenance-mode",
               "pcs property set maintenance-mode=false, or crm configure property "
               "maintenance-mode=false",
               "the whole cluster is in maintenance");
    }
    if (cib_is_true(stop_all)) {
        refuse(refusals, "stop-all-resources", "set it to false", "all resources are stopped");
    }
    return cib_is_true(maintenance);
}

/* The scanner's own failures must not keep it from being removed. */
static void
refuse_failure(GPtrArray *refusals, const struct model *model, const struct model_failure *failure)
{
    gboolean own = g_strcmp0(failure->resource, model->scanner.primitive) == 0;
    g_autofree char *todo =
        g_strdup_printf("mend it, then crm_resource --cleanup --resource %s", failure->resource);
    (own ? remark : refuse)(refusals, failure->operation, todo, "a failed action on %s (%s)",
                            failure->node, failure->reason);
}

/* It would not stop, and never be promoted. */
static void
refuse_scanner(GPtrArray *refusals, const struct model *model)
{
    const char *name = model->scanner.primitive;
    const char *clone = model->scanner.clone != NULL ? model->scanner.clone : name;
    if (name != NULL &&
        cib_find(model->view, "//resource[@id='%s' or starts-with(@id, '%s:')][@managed='false']",
                 name, name) != NULL) {
        g_autofree char *todo =
            g_strdup_printf("pcs resource manage %s, or crm resource manage %s", clone, clone);
        refuse(refusals, name, todo, "the scanner is unmanaged");
    }
}

void
refuse_unsettled(GPtrArray *refusals, const struct model *model)
{
    gboolean maintained = refuse_properties(refusals, model);
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        maintained = maintained || node->maintenance;
        refuse_node(refusals, node);
    }
    /* What a whole cluster or node in maintenance has is not said again for each resource. */
    for (guint i = 0; !maintained && i < model->members->len; i++) {
        refuse_member(refusals, model, g_ptr_array_index(model->members, i));
    }
    if (!maintained) {
        refuse_scanner(refusals, model);
    }
    for (guint i = 0; i < model->failures->len; i++) {
        refuse_failure(refusals, model, g_ptr_array_index(model->failures, i));
    }
    if (model->dc == NULL) {
        refuse(refusals, "cluster", "wait until crm_mon -1 shows a Current DC",
               "no node decides for the cluster (no DC)");
    }
    if (!model->quorum) {
        refuse(refusals, "cluster", "bring more nodes online", "this part of it has no quorum");
    }
}

void
refuse_ties(GPtrArray *refusals, const struct model *model)
{
    const char *name = model->scanner.primitive;
    const char *clone = model->scanner.clone != NULL ? model->scanner.clone : name;
    g_autoptr(GPtrArray) ties =
        cib_all(model->doc,
                "//constraints/*[.//resource_ref[@id='%1$s' or @id='%2$s']] | "
                "//tags/tag[obj_ref[@id='%1$s' or @id='%2$s']]",
                name, clone);
    for (guint i = 0; i < ties->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(ties, i), "id");
        g_autofree char *todo = g_strdup_printf("take %s out of it, then come again", clone);
        refuse(refusals, id, todo, "a set or tag of yours names the scanner");
    }
}

static char *
controller_state(const struct model *model, char **error_r)
{
    const char *const argv[] = {TOOL_CRMADMIN, "--status", model->dc, "--output-as=xml", NULL};
    g_autofree char *text = NULL;
    if (tool_output(argv, NULL, NULL, TOOL_MS, &text, error_r) != 0) {
        return NULL;
    }
    g_autoptr(cib_doc_t) answer = cib_parse_xml(text);
    char *state = answer == NULL ? NULL : cib_value(answer, "//crmd/@state");
    return state != NULL ? state : g_strdup("no state");
}

/* It is busy for a moment after each change, also with nothing to do. */
static void
refuse_controller(GPtrArray *refusals, const struct model *model)
{
    gint64 end = g_get_monotonic_time() + BUSY_US;
    g_autofree char *error = NULL;
    g_autofree char *state = controller_state(model, &error);
    while (state != NULL && strcmp(state, "S_IDLE") != 0 && g_get_monotonic_time() < end) {
        g_usleep(BUSY_US / 50);
        g_free(state);
        state = controller_state(model, &error);
    }
    if (state == NULL) {
        refuse(refusals, model->dc, "wait, then come again", "the controller does not answer: %s",
               error);
    } else if (strcmp(state, "S_IDLE") != 0) {
        refuse(refusals, model->dc, "wait until `crm_resource --wait` returns, then come again",
               "the controller is busy (%s), not idle", state);
    }
}

void
refuse_busy(GPtrArray *refusals, const struct model *model)
{
    g_autofree char *error = NULL;
    if (model->dc != NULL) {
        refuse_controller(refusals, model);
    }
    g_autofree char *path = scratch_file(model->doc, &error);
    const char *const argv[] = {TOOL_CRM_VERIFY, "--xml-file", path, "--verbose", NULL};
    if (path == NULL || tool_output(argv, NULL, NULL, TOOL_MS, NULL, &error) != 0) {
        refuse(refusals, "crm_verify",
               "run crm_verify --live-check --verbose and mend what it says",
               "the cluster's configuration has errors: %s", error);
    }
    if (path != NULL) {
        scratch_remove(path);
    }
}

/* Unfit */

static void
refuse_fencing(GPtrArray *refusals, const struct model *model)
{
    if (!fencing_enabled(model)) {
        refuse(refusals, "stonith-enabled", "configure fencing and set it to true",
               "fencing is switched off: after a split two nodes would write to the quarantine");
        return;
    }
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        switch (node->member ? fencing_of_live(model, node->name) : FENCING_DEVICE) {
        case FENCING_NONE:
            refuse(refusals, node->name, "add a fencing device that covers it (pcmk_host_list)",
                   "no fencing device covers this node: when it is lost, mail stays down");
            break;
        case FENCING_UNKNOWN:
            remark(refusals, node->name, "try it: stonith_admin --list from another node",
                   "only the fencing device itself knows whether it covers this node");
            break;
        case FENCING_WATCHDOG:
            remark(refusals, node->name, NULL,
                   "is fenced by its watchdog alone (SBD); Postern was never tried with that");
            break;
        case FENCING_DEVICE:
            break;
        }
    }
}

/* A mail server that is in no group: the scanner has nothing to be put beside. */
static void
refuse_loose(GPtrArray *refusals, const struct model *model)
{
    g_autoptr(GPtrArray) all = cib_all(model->doc, "//resources//primitive[not(parent::group)]");
    gboolean any = FALSE;
    for (guint i = 0; i < all->len; i++) {
        const xmlNode *xml = g_ptr_array_index(all, i);
        g_autofree char *agent = model_agent(xml);
        if (model_is_server(model_kind(agent))) {
            g_autofree char *id = cib_attribute(xml, "id");
            any = TRUE;
            refuse(refusals, id,
                   "put file system, address and mail server into a group: pcs resource group add "
                   "mail FS IP SERVER, or crm configure group mail FS IP SERVER",
                   "%s is in no group", agent);
        }
    }
    if (!any) {
        refuse(refusals, "resources",
               "put one into a group with its file system and address, or name it: --group",
               "no group holds a mail server (Postfix, Sendmail, Exim)");
    }
}

static void
refuse_choice(GPtrArray *refusals, const struct model *model, const char *wanted)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < model->groups->len; i++) {
        g_string_append_printf(names, "%s%s", i == 0 ? "" : ", ",
                               (const char *)g_ptr_array_index(model->groups, i));
    }
    if (wanted != NULL) {
        refuse(refusals, wanted, names->len > 0 ? "name the mail group" : NULL,
               "there is no group of this name%s%s", names->len > 0 ? "; with a mail server: " : "",
               names->str);
    } else if (model->groups->len > 1) {
        refuse(refusals, "resources", "name one of them: --group NAME",
               "several groups hold a mail server: %s", names->str);
    } else {
        refuse_loose(refusals, model);
    }
}

#define BY_HAND "set it up by hand: EXAMPLES in ocf_postern_scanner(7)"

/* @ in a path stands for the name of the group. */
static const struct {
    const char *path;
    const char *name; /* of the attribute that names what was found */
    const char *what;
    const char *todo;
} unfit[] = {
    {"//resources//group[@id='@']/ancestor::clone | //resources//group[@id='@']/ancestor::master",
     "id", "the mail group is cloned: mail is served on several nodes at once, Postern on one",
     "make the group a plain one"},
    {"//resources/bundle[.//primitive[@type='postfix' or @type='exim' or @type='sendmail']]", "id",
     "the scanner does not reach a mail server in a bundle (container)",
     "run the mail server on the node itself"},
    {"//rsc_ticket[@rsc='@' or @rsc=//group[@id='@']/primitive/@id or .//resource_ref/@id='@']",
     "id", "a ticket decides where mail may run, and Postern was not tried with tickets", BY_HAND},
    {"//resources//primitive[@type='drbd' or @type='drbd-dynamic' or @type='drbd-attr']", "id",
     "DRBD promotes a node by scores of its own, and Postern was not tried beside that", BY_HAND},
    {"//resources//primitive[@provider='pacemaker'][@type='remote']", "id",
     "the cluster has a remote node, and Postern was not tried with one", BY_HAND},
    {"//resources//meta_attributes/nvpair[@name='remote-node']", "value",
     "the cluster has a guest node, and Postern was not tried with one", BY_HAND},
    {"//resources//group[@id='@']/ancestor-or-self::*/meta_attributes/"
     "nvpair[@name='target-role'][@value='Stopped'] | //resources//group[@id='@']//"
     "meta_attributes/nvpair[@name='target-role'][@value='Stopped']",
     "id", "a part of the mail group is to be stopped (target-role)",
     "start it: pcs resource enable, or crm resource start"},
};

static void
refuse_kinds(GPtrArray *refusals, const struct model *model)
{
    for (size_t i = 0; i < G_N_ELEMENTS(unfit); i++) {
        const char *name = unfit[i].name;
        g_auto(GStrv) parts = g_strsplit(unfit[i].path, "'@'", -1);
        g_autofree char *group = g_strdup_printf("'%s'", model->group);
        g_autofree char *path = g_strjoinv(group, parts);
        g_autoptr(GPtrArray) found = cib_all(model->doc, "%s", path);
        for (guint n = 0; n < found->len; n++) {
            g_autofree char *where = cib_attribute(g_ptr_array_index(found, n), name);
            refuse(refusals, where != NULL ? where : "?", unfit[i].todo, "%s", unfit[i].what);
        }
    }
}

static void
remark_member(GPtrArray *refusals, const struct model_member *member)
{
    if (member->kind == MODEL_LVM) {
        remark(refusals, member->id, NULL,
               "%s below the file system: Postern was not tried with it", member->agent);
    } else if (member->kind == MODEL_FILESYSTEM && member->fstype != NULL &&
               g_str_has_prefix(member->fstype, "nfs")) {
        remark(
            refusals, member->id, NULL,
            "NFS: after a node is lost its locks live on for up to 90 s, and no mail is accepted "
            "meanwhile; Postern was not tried with it");
    } else if (member->kind == MODEL_NO_MILTER) {
        remark(refusals, member->id,
               "point it at clamd_listen (Exim: av_scanner), see postern-clamd(7)",
               "%s speaks no milter: the scanner is put beside it, nothing of it is changed",
               member->agent);
    } else if (member->kind == MODEL_SENDMAIL) {
        remark(refusals, member->id, "add INPUT_MAIL_FILTER with F=T to sendmail.mc on every node",
               "%s: the scanner is put beside it, nothing of it is changed", member->agent);
    }
}

static void
refuse_members(GPtrArray *refusals, const struct model *model)
{
    gboolean has_filesystem = FALSE;
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        has_filesystem = has_filesystem || member->kind == MODEL_FILESYSTEM;
        remark_member(refusals, member);
    }
    if (!has_filesystem) {
        refuse(refusals, model->group,
               "put the file system into the group; for one that several nodes mount at once see "
               "Primitive in ocf_postern_scanner(7)",
               "no ocf:heartbeat:Filesystem is in the group, so there is no place for the "
               "quarantine that moves with the mail");
    }
    if (model->active == NULL) {
        refuse(refusals, model->group, "start it, and wait until all of it runs on one node",
               "the mail group does not run, or not all of it on one node");
    }
}

/* Stickiness */

static char *
default_stickiness(const struct model *model)
{
    return cib_value(model->doc,
                     "//rsc_defaults/meta_attributes/nvpair[@name='resource-stickiness']/@value");
}

static long
member_stickiness(const struct model *model, const struct model_member *member)
{
    g_autofree char *value = cib_nvpair(member->xml, "meta_attributes", "resource-stickiness");
    if (value == NULL) {
        value = cib_nvpair(member->xml->parent, "meta_attributes", "resource-stickiness");
    }
    if (value == NULL) {
        value = default_stickiness(model);
    }
    return cib_score(value);
}

static long
preferences(const struct model *model)
{
    long sum = 0;
    g_autoptr(GPtrArray) all =
        cib_all(model->doc,
                "//rsc_location[@rsc='%s' or @rsc=//group[@id='%s']/primitive/@id]/@score | "
                "//rsc_location[@rsc='%s' or @rsc=//group[@id='%s']/primitive/@id]/rule/@score",
                model->group, model->group, model->group, model->group);
    for (guint i = 0; i < all->len; i++) {
        xmlChar *text = xmlNodeGetContent(g_ptr_array_index(all, i));
        sum += MAX(0, cib_score((const char *)text));
        xmlFree(text);
    }
    return MIN(sum, CIB_INFINITY);
}

long
refuse_inertia(const struct model *model)
{
    long sum = 0;
    for (guint i = 0; i < model->members->len; i++) {
        sum += MAX(0, member_stickiness(model, g_ptr_array_index(model->members, i)));
    }
    /* The scheduler counts both twice (cluster-tests/scheduler/test_limits.py). */
    return MIN(2 * (sum + preferences(model)), CIB_INFINITY);
}

static void
refuse_stickiness(GPtrArray *refusals, const struct model *model)
{
    long inertia = refuse_inertia(model);
    if (inertia >= CIB_INFINITY) {
        refuse(refusals, "resource-stickiness",
               "set resource-stickiness to 1 to 1000, and location preferences likewise",
               "INFINITY for the mail group: mail would never leave a node whose scanner cannot "
               "give verdicts");
    } else if (inertia >= SCORE_READY - SCORE_PLOST) {
        refuse(refusals, "resource-stickiness",
               "lower resource-stickiness or the location preferences of the mail group",
               "2 x the stickiness of the group's members and its location preferences is %ld, "
               "which outvotes the scanner's readiness (%d)",
               inertia, SCORE_READY - SCORE_PLOST);
    } else if (inertia == 0) {
        remark(
            refusals, "resource-stickiness", "set it to 1 to 1000 in rsc_defaults",
            "0 for the whole mail group: mail moves for nothing when two nodes are alike, as when "
            "the scanner is recovered in place while the other node's still loads");
    }
}

/* Constraints of the mail group that a person made for a while. */
static void
remark_constraints(GPtrArray *refusals, const struct model *model)
{
    g_autoptr(GPtrArray) all = cib_all(model->doc,
                                       "//rsc_location[starts-with(@id, 'cli-')][@rsc='%s' or "
                                       "@rsc=//group[@id='%s']/primitive/@id]",
                                       model->group, model->group);
    for (guint i = 0; i < all->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(all, i), "id");
        refuse(refusals, id, "take it away: pcs resource clear, or crm resource clear",
               "a move or ban of the mail group that was never ended");
    }
    g_autoptr(GPtrArray) sets = cib_all(model->doc,
                                        "//constraints/*[resource_set/resource_ref[@id='%s' or "
                                        "@id=//group[@id='%s']/primitive/@id]]",
                                        model->group, model->group);
    for (guint i = 0; i < sets->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(sets, i), "id");
        remark(refusals, id, NULL,
               "a set of resources has mail in it; the simulation below tells "
               "what it does");
    }
    g_autofree char *policy = model_property(model, "no-quorum-policy");
    if (g_strcmp0(policy, "ignore") == 0) {
        remark(refusals, "no-quorum-policy", "set it to stop, with two_node in corosync.conf",
               "ignore: both halves of a split cluster start the mail");
    }
}

void
refuse_unfit(GPtrArray *refusals, const struct model *model, const char *wanted)
{
    refuse_fencing(refusals, model);
    if (model->group == NULL) {
        refuse_choice(refusals, model, wanted);
        return;
    }
    refuse_kinds(refusals, model);
    refuse_members(refusals, model);
    refuse_stickiness(refusals, model);
    remark_constraints(refusals, model);
}

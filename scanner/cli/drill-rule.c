/* SPDX-License-Identifier: GPL-2.0-only */
#include "drill-rule.h"

#include <errno.h>
#include <string.h>

#include "cib.h"
#include "text.h"
#include "tool.h"

#define TIMEOUT_MS 30000
#define TOOL_CRM_ATTRIBUTE "/usr/sbin/crm_attribute"
#define SHOWN 200

static const char rules_path[] =
    "/cib/configuration/constraints/rsc_location[starts-with(@id, '" DRILL_RULE_PREFIX "')]";
static const char marks_path[] =
    "/cib/status/node_state/transient_attributes//nvpair[@name='" DRILL_STANDBY_MARK "']";

static char *
rule_text(const struct drill_rule *rule, const char *node, unsigned seconds)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) end = g_date_time_add_seconds(now, seconds);
    g_autofree char *until = g_date_time_format(end, "%Y-%m-%d %H:%M:%SZ");
    g_autofree char *id = g_strconcat(DRILL_RULE_PREFIX, rule->group, NULL);
    return g_markup_printf_escaped(
        "<rsc_location id=\"%s\" rsc=\"%s\">"
        "<rule id=\"%s-rule\" score=\"INFINITY\" boolean-op=\"and\">"
        "<expression id=\"%s-node\" attribute=\"#uname\" operation=\"eq\" value=\"%s\" "
        "type=\"string\"/>"
        "<date_expression id=\"%s-end\" operation=\"lt\" end=\"%s\"/></rule></rsc_location>",
        id, rule->group, id, id, node, id, until);
}

int
drill_rule_set(const struct drill_rule *rule, const char *node, unsigned seconds, char **error_r)
{
    g_autofree char *text = rule_text(rule, node, seconds);
    const char *argv[] = {TOOL_CIBADMIN, "--modify",    "--allow-create",
                          "--scope",     "constraints", "--xml-text",
                          text,          NULL};
    g_autofree char *why = NULL;
    if (tool_run(argv, TIMEOUT_MS, &why) < 0) {
        *error_r = g_strdup_printf("the cluster does not take the constraint %s%s: %s",
                                   DRILL_RULE_PREFIX, rule->group, why);
        return -EREMOTEIO;
    }
    return 0;
}

static int
transient(const char *node, const char *name, const char *value, char **error_r)
{
    const char *set[] = {TOOL_CRM_ATTRIBUTE, "--node", node,       "--name", name,
                         "--lifetime",       "reboot", "--update", value,    NULL};
    const char *clear[] = {TOOL_CRM_ATTRIBUTE, "--node", node,       "--name", name,
                           "--lifetime",       "reboot", "--delete", NULL};
    return tool_run(value != NULL ? set : clear, TIMEOUT_MS, error_r);
}

/* The mark comes first and goes last: a standby without it would be nobody's. */
int
drill_rule_standby(const struct drill_rule *rule, gboolean on, char **error_r)
{
    const char *const names[] = {DRILL_STANDBY_MARK, "standby"};
    const char *const values[] = {rule->run, "on"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        size_t which = on ? i : G_N_ELEMENTS(names) - 1 - i;
        g_autofree char *why = NULL;
        if (transient(rule->standby, names[which], on ? values[which] : NULL, &why) < 0) {
            *error_r = g_strdup_printf("%s: standby cannot be %s: %s", rule->standby,
                                       on ? "set" : "ended", why);
            return -EREMOTEIO;
        }
    }
    return 0;
}

/* The name of the node whose state holds a transient attribute. */
static char *
node_of(const xmlNode *attribute)
{
    const xmlNode *node = attribute;
    while (node != NULL && strcmp((const char *)node->name, "node_state") != 0) {
        node = node->parent;
    }
    return node == NULL ? g_strdup("?") : cib_attribute(node, "uname");
}

char **
drill_rule_left(xmlDoc *cib)
{
    GPtrArray *left = g_ptr_array_new();
    g_autoptr(GPtrArray) rules = cib_all(cib, "%s", rules_path);
    g_autoptr(GPtrArray) marks = cib_all(cib, "%s", marks_path);
    for (guint i = 0; i < rules->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(rules, i), "id");
        g_autofree char *end = cib_value(cib, "%s[@id='%s']//date_expression/@end", rules_path,
                                         cib_is_id(id) ? id : "");
        g_autofree char *text = g_strdup_printf("constraint %s, without effect from %s on", id,
                                                end == NULL ? "?" : end);
        g_ptr_array_add(left, text_escape(text, SHOWN));
    }
    for (guint i = 0; i < marks->len; i++) {
        g_autofree char *node = node_of(g_ptr_array_index(marks, i));
        g_autofree char *text = g_strdup_printf("node %s, set to standby", node);
        g_ptr_array_add(left, text_escape(text, SHOWN));
    }
    g_ptr_array_add(left, NULL);
    return (char **)g_ptr_array_free(left, FALSE);
}

/* A constraint that is not there is no error: cibadmin's answer is not asked for. */
static void
rule_delete(const char *id)
{
    g_autofree char *why = NULL;
    g_autofree char *text = g_markup_printf_escaped("<rsc_location id=\"%s\"/>", id);
    const char *argv[] = {TOOL_CIBADMIN, "--delete", "--scope", "constraints",
                          "--xml-text",  text,       NULL};
    (void)tool_run(argv, TIMEOUT_MS, &why);
}

/* Is anything of a drill left? Returns how many, or -errno. */
static int
count_left(char **error_r)
{
    g_autoptr(cib_doc_t) cib = NULL;
    int rc = cib_read(&cib, error_r);
    if (rc < 0) {
        return rc;
    }
    g_auto(GStrv) left = drill_rule_left(cib);
    return (int)g_strv_length(left);
}

int
drill_rule_remove(const struct drill_rule *rule, char **error_r)
{
    g_autofree char *id = g_strconcat(DRILL_RULE_PREFIX, rule->group, NULL);
    int rc = rule->standby != NULL ? drill_rule_standby(rule, FALSE, error_r) : 0;
    rule_delete(id);
    int left = rc < 0 ? rc : count_left(error_r);
    if (left > 0) {
        *error_r = g_strdup_printf("%s is still there: `postern cluster drill --clear`", id);
        return -EBUSY;
    }
    return left;
}

int
drill_rule_clear(char **error_r)
{
    g_autoptr(cib_doc_t) cib = NULL;
    int rc = cib_read(&cib, error_r);
    if (rc < 0) {
        return rc;
    }
    g_autoptr(GPtrArray) rules = cib_all(cib, "%s", rules_path);
    g_autoptr(GPtrArray) marks = cib_all(cib, "%s", marks_path);
    for (guint i = 0; i < rules->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(rules, i), "id");
        rule_delete(id);
    }
    for (guint i = 0; i < marks->len && rc == 0; i++) {
        g_autofree char *node = node_of(g_ptr_array_index(marks, i));
        const struct drill_rule rule = {.standby = node};
        rc = drill_rule_standby(&rule, FALSE, error_r);
    }
    int left = rc < 0 ? rc : count_left(error_r);
    if (left > 0) {
        *error_r = g_strdup("what a drill has left cannot be taken away: see `cibadmin --query`");
        return -EBUSY;
    }
    return left < 0 ? left : (int)(rules->len + marks->len);
}

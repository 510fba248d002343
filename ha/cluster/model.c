/* SPDX-License-Identifier: GPL-2.0-only */
#include "model.h"

#include <errno.h>
#include <string.h>

#include "cib.h"
#include "scratch.h"
#include "text.h"
#include "tool.h"

#define VIEW_MS 30000
/* The preset of ocf:heartbeat:postfix. */
#define POSTFIX_DIR "/etc/postfix"
#define SCANNER "//primitive[@provider='postern'][@type='scanner']"

static const struct {
    const char *pattern; /* of the agent's name */
    enum model_kind kind;
} kinds[] = {
    {"ocf:heartbeat:Filesystem", MODEL_FILESYSTEM},
    {"ocf:*:IPaddr", MODEL_ADDRESS},
    {"ocf:*:IPaddr2", MODEL_ADDRESS},
    {"ocf:heartbeat:LVM*", MODEL_LVM},
    {"ocf:heartbeat:lvm*", MODEL_LVM},
    {"ocf:linbit:drbd*", MODEL_DRBD},
    {"ocf:heartbeat:drbd", MODEL_DRBD},
    {"*:postfix", MODEL_POSTFIX},
    {"*:postfix.service", MODEL_POSTFIX},
    {"*:postfix@*", MODEL_POSTFIX},
    {"*:sendmail*", MODEL_SENDMAIL},
    {"*:exim*", MODEL_NO_MILTER},
    {"*:opensmtpd*", MODEL_NO_MILTER},
    {"*:smtpd*", MODEL_NO_MILTER},
    {"*:dovecot*", MODEL_DOVECOT},
};

enum model_kind
model_kind(const char *agent)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_pattern_match_simple(kinds[i].pattern, agent)) {
            return kinds[i].kind;
        }
    }
    return MODEL_OTHER;
}

gboolean
model_is_server(enum model_kind kind)
{
    return kind == MODEL_POSTFIX || kind == MODEL_SENDMAIL || kind == MODEL_NO_MILTER;
}

char *
model_agent(const xmlNode *xml)
{
    g_autofree char *class = cib_attribute(xml, "class");
    g_autofree char *provider = cib_attribute(xml, "provider");
    g_autofree char *type = cib_attribute(xml, "type");
    return provider != NULL ? g_strdup_printf("%s:%s:%s", class, provider, type)
                            : g_strdup_printf("%s:%s", class, type);
}

static void
node_free(void *p)
{
    struct model_node *node = p;
    g_free(node->name);
    g_free(node);
}

static void
member_free(void *p)
{
    struct model_member *member = p;
    g_free(member->id);
    g_free(member->agent);
    g_free(member->directory);
    g_free(member->fstype);
    g_free(member->node);
    g_free(member);
}

static void
failure_free(void *p)
{
    struct model_failure *failure = p;
    g_free(failure->resource);
    g_free(failure->operation);
    g_free(failure->node);
    g_free(failure->reason);
    g_free(failure);
}

void
model_free(struct model *model)
{
    if (model == NULL) {
        return;
    }
    xmlFreeDoc(model->doc);
    xmlFreeDoc(model->view);
    g_free(model->epoch);
    g_ptr_array_unref(model->nodes);
    g_free(model->dc);
    g_ptr_array_unref(model->failures);
    g_ptr_array_unref(model->groups);
    g_free(model->group);
    g_ptr_array_unref(model->members);
    g_ptr_array_unref(model->postfix_dirs);
    g_free(model->active);
    g_free(model->scanner.primitive);
    g_free(model->scanner.clone);
    g_free(model->scanner.warm);
    g_free(model->scanner.promoted);
    g_ptr_array_unref(model->scanner.started);
    g_free(model);
}

/* crm_mon reads a file that the library finds by the environment. */
static int
view_read(xmlDoc *doc, xmlDoc **view_r, char **error_r)
{
    static const char *const argv[] = {
        TOOL_CRM_MON, "--one-shot", "--output-as=xml", "--inactive", "--show-node-attributes",
        NULL};
    g_autofree char *path = scratch_file(doc, error_r);
    if (path == NULL) {
        return -EIO;
    }
    g_autofree char *variable = g_strconcat("CIB_file=", path, NULL);
    const char *const environment[] = {variable, NULL};
    g_autofree char *text = NULL;
    int rc = tool_output(argv, environment, NULL, VIEW_MS, &text, error_r);
    scratch_remove(path);
    if (rc == 0 && (*view_r = cib_parse_xml(text)) == NULL) {
        *error_r = g_strdup(TOOL_CRM_MON " did not print XML");
        rc = -EBADMSG;
    }
    return rc > 0 ? -EREMOTEIO : rc;
}

/* A name goes into paths, command lines and the words that people copy: nothing of it may be taken
 * for anything else there. Host names are more limited (RFC 1123). */
static int
check_node_name(const char *name, char **error_r)
{
    if (name != NULL && (g_ascii_isalnum(*name) || *name == '_') &&
        name[strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_.:")] == '\0') {
        return 0;
    }
    g_autofree char *safe = text_escape(name, 60);
    *error_r = g_strdup_printf("node \"%s\": a name with anything but letters, digits and -_.: is "
                               "none that Postern works with; rename the node",
                               safe);
    return -EINVAL;
}

static int
check_nodes(const struct model *model, char **error_r)
{
    int rc = 0;
    for (guint i = 0; i < model->nodes->len && rc == 0; i++) {
        rc = check_node_name(((const struct model_node *)model->nodes->pdata[i])->name, error_r);
    }
    return rc;
}

static void
read_nodes(struct model *model)
{
    g_autoptr(GPtrArray) all = cib_all(model->view, "/*/nodes/node");
    for (guint i = 0; i < all->len; i++) {
        const xmlNode *xml = g_ptr_array_index(all, i);
        struct model_node *node = g_new0(struct model_node, 1);
        node->name = cib_attribute(xml, "name");
        node->member = cib_attribute_is(xml, "type", "member");
        node->online = cib_attribute_is(xml, "online", "true") &&
                       cib_attribute_is(xml, "pending", "false") &&
                       cib_attribute_is(xml, "unclean", "false");
        node->standby = cib_attribute_is(xml, "standby", "true") ||
                        cib_attribute_is(xml, "standby_onfail", "true");
        node->maintenance = cib_attribute_is(xml, "maintenance", "true");
        g_ptr_array_add(model->nodes, node);
    }
}

static void
read_failures(struct model *model)
{
    g_autoptr(GPtrArray) all = cib_all(model->view, "/*/failures/failure");
    for (guint i = 0; i < all->len; i++) {
        const xmlNode *xml = g_ptr_array_index(all, i);
        g_autofree char *task = cib_attribute(xml, "task");
        struct model_failure *failure = g_new0(struct model_failure, 1);
        failure->operation = cib_attribute(xml, "op_key");
        failure->node = cib_attribute(xml, "node");
        failure->reason = cib_attribute(xml, "exitreason");
        if (failure->operation == NULL) { /* from Pacemaker 3 on */
            g_free(failure->operation);
            failure->operation = cib_attribute(xml, "id");
        }
        if (failure->operation == NULL) {
            failure->operation = g_strdup(task);
        }
        if (failure->reason == NULL || *failure->reason == '\0') {
            g_free(failure->reason);
            failure->reason = cib_attribute(xml, "exitstatus");
        }
        g_autofree char *ending = g_strdup_printf("_%s_", task != NULL ? task : "?");
        const char *end = failure->operation == NULL ? NULL : strstr(failure->operation, ending);
        failure->resource = end != NULL
                                ? g_strndup(failure->operation, (gsize)(end - failure->operation))
                                : g_strdup(failure->operation);
        g_ptr_array_add(model->failures, failure);
    }
}

/* The ids of all groups with a mail server in them. */
static void
find_groups(struct model *model)
{
    g_autoptr(GPtrArray) all = cib_all(model->doc, "//resources//group");
    for (guint i = 0; i < all->len; i++) {
        xmlNode *group = g_ptr_array_index(all, i);
        for (xmlNode *child = group->children; child != NULL; child = child->next) {
            g_autofree char *agent = model_agent(child);
            if (strcmp((const char *)child->name, "primitive") == 0 &&
                model_is_server(model_kind(agent))) {
                g_ptr_array_add(model->groups, cib_attribute(group, "id"));
                break;
            }
        }
    }
}

/* The one that the scanner is for: it follows it, or has it in it. NULL = none; borrowed. */
static const char *
find_own_group(const struct model *model)
{
    for (guint i = 0; i < model->groups->len; i++) {
        const char *group = g_ptr_array_index(model->groups, i);
        if (cib_is_id(group) &&
            (cib_find(model->doc,
                      "//rsc_colocation[@rsc='%s'][@with-rsc=//resources/*[." SCANNER "]/@id]"
                      "[@with-rsc-role='Promoted' or @with-rsc-role='Master']",
                      group) != NULL ||
             cib_find(model->doc, "//resources//group[@id='%s'][." SCANNER "]", group) != NULL)) {
            return group;
        }
    }
    return NULL;
}

static void
read_member(struct model *model, xmlNode *xml)
{
    struct model_member *member = g_new0(struct model_member, 1);
    member->id = cib_attribute(xml, "id");
    member->xml = xml;
    member->agent = model_agent(xml);
    member->kind = model_kind(member->agent);
    if (member->kind == MODEL_FILESYSTEM) {
        member->directory = cib_nvpair(xml, "instance_attributes", "directory");
        member->fstype = cib_nvpair(xml, "instance_attributes", "fstype");
    }
    g_autoptr(GPtrArray) places =
        cib_all(model->view, "//resource[@id='%s'][@active='true']/node", member->id);
    if (places->len == 1) {
        member->node = cib_attribute(g_ptr_array_index(places, 0), "name");
    }
    member->managed =
        cib_find(model->view, "//resource[@id='%s'][@managed='false']", member->id) == NULL;
    g_ptr_array_add(model->members, member);
}

/* Once one resource names its directory the host's list of instances says nothing any more. */
static void
read_postfix_dirs(struct model *model)
{
    gboolean named = FALSE;
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (member->kind == MODEL_POSTFIX) {
            char *dir = cib_nvpair(member->xml, "instance_attributes", "config_dir");
            named = named || dir != NULL;
            g_ptr_array_add(model->postfix_dirs, dir != NULL ? dir : g_strdup(POSTFIX_DIR));
        }
    }
    if (!named) {
        g_ptr_array_set_size(model->postfix_dirs, 0);
    }
}

static void
read_group(struct model *model)
{
    xmlNode *group = cib_find(model->doc, "//resources//group[@id='%s']", model->group);
    for (xmlNode *child = group->children; child != NULL; child = child->next) {
        if (strcmp((const char *)child->name, "primitive") == 0) {
            read_member(model, child);
        }
    }
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (i == 0) {
            model->active = g_strdup(member->node);
        } else if (g_strcmp0(model->active, member->node) != 0) {
            g_clear_pointer(&model->active, g_free);
        }
    }
    read_postfix_dirs(model);
}

static void
read_instances(struct model *model, const char *primitive)
{
    struct model_scanner *scanner = &model->scanner;
    g_autoptr(GPtrArray) all =
        cib_all(model->view, "//resource[@id='%s' or starts-with(@id, '%s:')][@active='true']/node",
                primitive, primitive);
    for (guint i = 0; i < all->len; i++) {
        const xmlNode *node = g_ptr_array_index(all, i);
        g_autofree char *name = cib_attribute(node, "name");
        if (cib_attribute_is(node->parent, "role", "Promoted") ||
            cib_attribute_is(node->parent, "role", "Master")) {
            g_free(scanner->promoted);
            scanner->promoted = g_strdup(name);
        }
        g_ptr_array_add(scanner->started, g_steal_pointer(&name));
    }
}

static void
read_clone(struct model *model, xmlNode *clone)
{
    struct model_scanner *scanner = &model->scanner;
    g_autofree char *promotable = cib_nvpair(clone, "meta_attributes", "promotable");
    g_autofree char *role = cib_nvpair(clone, "meta_attributes", "target-role");
    scanner->clone = cib_attribute(clone, "id");
    scanner->promotable =
        cib_is_true(promotable) || strcmp((const char *)clone->name, "master") == 0;
    scanner->is_held = role != NULL && g_ascii_strcasecmp(role, "Started") != 0 &&
                       g_ascii_strcasecmp(role, "Promoted") != 0 &&
                       g_ascii_strcasecmp(role, "Master") != 0;
    scanner->mail_follows =
        model->group != NULL && cib_find(model->doc,
                                         "//rsc_colocation[@rsc='%s'][@with-rsc='%s']"
                                         "[@with-rsc-role='Promoted' or @with-rsc-role='Master']",
                                         model->group, scanner->clone) != NULL;
    scanner->is_followed =
        cib_find(model->doc, "//rsc_colocation[@with-rsc='%s' or .//resource_ref[@id='%s']]",
                 scanner->clone, scanner->clone) != NULL;
}

static void
read_scanner(struct model *model)
{
    struct model_scanner *scanner = &model->scanner;
    g_autoptr(GPtrArray) all = cib_all(model->doc, "//resources" SCANNER);
    for (guint i = 0; i < all->len; i++) {
        xmlNode *xml = g_ptr_array_index(all, i);
        xmlNode *parent = xml->parent;
        gboolean cloned = strcmp((const char *)parent->name, "clone") == 0 ||
                          strcmp((const char *)parent->name, "master") == 0;
        g_autofree char *part = cib_nvpair(xml, "instance_attributes", "part");
        if (g_strcmp0(part, "engine") == 0) {
            scanner->warm = cib_attribute(cloned ? parent : xml, "id");
        } else if (scanner->primitive == NULL) {
            scanner->primitive = cib_attribute(xml, "id");
            if (cloned) {
                read_clone(model, parent);
            }
            read_instances(model, scanner->primitive);
        }
    }
}

int
model_new(xmlDoc *doc, const char *group, struct model **model_r, char **error_r)
{
    g_autoptr(model_t) model = g_new0(struct model, 1);
    model->doc = doc;
    model->epoch = cib_epoch(doc);
    model->nodes = g_ptr_array_new_with_free_func(node_free);
    model->failures = g_ptr_array_new_with_free_func(failure_free);
    model->groups = g_ptr_array_new_with_free_func(g_free);
    model->members = g_ptr_array_new_with_free_func(member_free);
    model->postfix_dirs = g_ptr_array_new_with_free_func(g_free);
    model->scanner.started = g_ptr_array_new_with_free_func(g_free);
    int rc = view_read(doc, &model->view, error_r);
    if (rc < 0) {
        return rc;
    }
    model->dc = cib_value(model->view, "//current_dc[@present='true']/@name");
    model->quorum = cib_find(model->view, "//current_dc[@with_quorum='true']") != NULL;
    read_nodes(model);
    rc = check_nodes(model, error_r);
    if (rc < 0) {
        return rc;
    }
    read_failures(model);
    find_groups(model);
    if (group == NULL && model->groups->len == 1) {
        group = g_ptr_array_index(model->groups, 0);
    } else if (group == NULL) {
        group = find_own_group(model);
    }
    if (group != NULL && cib_is_id(group) &&
        cib_find(doc, "//resources//group[@id='%s']", group) != NULL) {
        model->group = g_strdup(group);
        read_group(model);
    }
    read_scanner(model);
    *model_r = g_steal_pointer(&model);
    return 0;
}

int
model_read(const char *group, struct model **model_r, char **error_r)
{
    xmlDoc *doc = NULL;
    int rc = cib_read(&doc, error_r);
    return rc < 0 ? rc : model_new(doc, group, model_r, error_r);
}

char *
model_property(const struct model *model, const char *name)
{
    return cib_value(model->doc, "//crm_config//nvpair[@name='%s']/@value", name);
}

char *
model_node_attribute(const struct model *model, const char *node, const char *name)
{
    return cib_value(model->doc,
                     "//status/node_state[@uname='%s']/transient_attributes//nvpair[@name='%s']"
                     "/@value",
                     node, name);
}

/* /srv/mail is above /srv/mail/x and /srv/mail, not above /srv/mailbox. */
static gboolean
is_below(const char *path, const char *directory)
{
    g_autofree char *clean = g_canonicalize_filename(directory, "/");
    size_t length = strlen(clean);
    return strncmp(path, clean, length) == 0 &&
           (path[length] == '/' || path[length] == '\0' || length == 1);
}

const struct model_member *
model_filesystem(const struct model *model, const char *path)
{
    const struct model_member *best = NULL;
    g_autofree char *clean = g_canonicalize_filename(path, "/");
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (member->directory != NULL && is_below(clean, member->directory) &&
            (best == NULL || strlen(member->directory) > strlen(best->directory))) {
            best = member;
        }
    }
    return best;
}

const struct model_member *
model_member(const struct model *model, const char *id)
{
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (strcmp(member->id, id) == 0) {
            return member;
        }
    }
    return NULL;
}

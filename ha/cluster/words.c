/* SPDX-License-Identifier: GPL-2.0-only */
#include "words.h"

#include <string.h>

#include "cib.h"

/* pcs changes a copy, which is then pushed as a difference: one change for the cluster. */
#define PCS "pcs -f new.xml "

static void line(GPtrArray *lines, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
line(GPtrArray *lines, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(lines, g_strdup_vprintf(format, args));
    va_end(args);
}

/* A word of a shell, quoted only when it has to be. */
static char *
word(const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.,:=@%+";
    return text[strspn(text, plain)] == '\0' ? g_strdup(text) : g_shell_quote(text);
}

static char *
parameters(const struct plan *plan, const char *before)
{
    GString *text = g_string_new(NULL);
    const struct {
        const char *name;
        const char *value;
    } all[] = {{"config", plan->config}, {"queue_directory", plan->queue_directory}};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].value != NULL) {
            g_autofree char *value = word(all[i].value);
            g_string_append_printf(text, "%s%s=%s", text->len == 0 ? before : " ", all[i].name,
                                   value);
        }
    }
    return g_string_free(text, FALSE);
}

static void
pcs_begin(GPtrArray *lines)
{
    line(lines, "pcs cluster cib old.xml && cp old.xml new.xml");
}

static void
pcs_end(GPtrArray *lines)
{
    line(lines, "pcs cluster cib-push new.xml diff-against=old.xml");
}

static void
pcs_load(const struct plan *plan, GPtrArray *lines)
{
    const struct plan_timeouts *t = &plan->timeouts;
    g_autofree char *params = parameters(plan, " ");
    pcs_begin(lines);
    line(lines, PCS "resource create %s ocf:postern:scanner%s \\", plan->name, params);
    line(lines, "    op start timeout=%us op stop timeout=%us op promote timeout=%us \\", t->start,
         t->stop, t->promote);
    line(lines, "    op demote timeout=%us op monitor interval=7s role=Promoted timeout=%us \\",
         t->demote, t->monitor);
    line(lines, "    op monitor interval=10s role=Unpromoted timeout=%us \\", t->monitor);
    line(lines, "    meta migration-threshold=3 failure-timeout=10min \\");
    line(lines, "    promotable promoted-max=1 interleave=true notify=false \\");
    line(lines, "    allow-unhealthy-nodes=true target-role=Unpromoted");
    for (guint i = 0; i < plan->banned->len; i++) {
        const char *node = g_ptr_array_index(plan->banned, i);
        line(lines, PCS "constraint location add %s-not-on-%s %s %s -INFINITY", plan->name, node,
             plan->clone, node);
    }
    for (guint i = 0; plan->opt_in && i < plan->allowed->len; i++) {
        const char *node = g_ptr_array_index(plan->allowed, i);
        line(lines, PCS "constraint location add %s-on-%s %s %s 0", plan->name, node, plan->clone,
             node);
    }
    for (guint i = 0; i < plan->filesystems->len; i++) {
        const char *fs = g_ptr_array_index(plan->filesystems, i);
        line(lines, PCS "constraint order start %s then promote %s kind=Mandatory id=%s-before-%s",
             fs, plan->clone, fs, plan->name);
    }
    line(lines,
         PCS "constraint location %s rule constraint-id=%s-beside-mail role=Promoted "
             "score=-INFINITY '#uname' ne %s",
         plan->clone, plan->name, plan->active);
    pcs_end(lines);
}

static void
pcs_promote(const struct plan *plan, GPtrArray *lines)
{
    line(lines, "pcs resource meta %s target-role=", plan->clone);
}

static void
pcs_join(const struct plan *plan, GPtrArray *lines)
{
    pcs_begin(lines);
    line(lines, PCS "constraint delete %s-beside-mail", plan->name);
    line(lines, PCS "constraint colocation add %s with Promoted %s INFINITY id=mail-with-%s",
         plan->group, plan->clone, plan->name);
    for (guint i = 0; i < plan->servers->len; i++) {
        const char *server = g_ptr_array_index(plan->servers, i);
        line(lines, PCS "constraint order promote %s then start %s kind=Optional id=%s-before-%s",
             plan->clone, server, plan->name, server);
    }
    pcs_end(lines);
}

static void
crmsh_load(const struct plan *plan, GPtrArray *lines)
{
    const struct plan_timeouts *t = &plan->timeouts;
    g_autofree char *params = parameters(plan, " params ");
    line(lines, "crm configure <<'END'");
    line(lines, "primitive %s ocf:postern:scanner%s \\", plan->name, params);
    line(lines, "    op start timeout=%us interval=0s op stop timeout=%us interval=0s \\", t->start,
         t->stop);
    line(lines, "    op promote timeout=%us interval=0s op demote timeout=%us interval=0s \\",
         t->promote, t->demote);
    line(lines, "    op monitor interval=7s role=Promoted timeout=%us \\", t->monitor);
    line(lines, "    op monitor interval=10s role=Unpromoted timeout=%us \\", t->monitor);
    line(lines, "    meta migration-threshold=3 failure-timeout=10min");
    line(lines, "clone %s %s meta promotable=true promoted-max=1 \\", plan->clone, plan->name);
    line(lines, "    interleave=true notify=false allow-unhealthy-nodes=true \\");
    line(lines, "    target-role=Unpromoted");
    for (guint i = 0; i < plan->banned->len; i++) {
        const char *node = g_ptr_array_index(plan->banned, i);
        line(lines, "location %s-not-on-%s %s -inf: %s", plan->name, node, plan->clone, node);
    }
    for (guint i = 0; plan->opt_in && i < plan->allowed->len; i++) {
        const char *node = g_ptr_array_index(plan->allowed, i);
        line(lines, "location %s-on-%s %s 0: %s", plan->name, node, plan->clone, node);
    }
    for (guint i = 0; i < plan->filesystems->len; i++) {
        const char *fs = g_ptr_array_index(plan->filesystems, i);
        line(lines, "order %s-before-%s Mandatory: %s:start %s:promote", fs, plan->name, fs,
             plan->clone);
    }
    line(lines, "location %s-beside-mail %s rule $role=Promoted -inf: #uname ne %s", plan->name,
         plan->clone, plan->active);
    line(lines, "commit");
    line(lines, "END");
}

static void
crmsh_promote(const struct plan *plan, GPtrArray *lines)
{
    line(lines, "crm resource meta %s delete target-role", plan->clone);
}

static void
crmsh_join(const struct plan *plan, GPtrArray *lines)
{
    line(lines, "crm configure <<'END'");
    line(lines, "delete %s-beside-mail", plan->name);
    line(lines, "colocation mail-with-%s inf: %s %s:Promoted", plan->name, plan->group,
         plan->clone);
    for (guint i = 0; i < plan->servers->len; i++) {
        const char *server = g_ptr_array_index(plan->servers, i);
        line(lines, "order %s-before-%s Optional: %s:promote %s:start", plan->name, server,
             plan->clone, server);
    }
    line(lines, "commit");
    line(lines, "END");
}

GPtrArray *
words_setup(const struct plan *plan, unsigned step, enum words_tool tool)
{
    static void (*const says[][2])(const struct plan *, GPtrArray *) = {
        {pcs_load, crmsh_load}, {pcs_promote, crmsh_promote}, {pcs_join, crmsh_join}};
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    says[step][tool](plan, lines);
    return lines;
}

/* Ids of what plan_leave() takes away, found by doing it. */
static GPtrArray *
constraints_gone(const struct plan *plan, const struct model *model)
{
    GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(cib_doc_t) after = xmlCopyDoc(model->doc, 1);
    plan_leave(after, plan);
    g_autoptr(GPtrArray) before = cib_all(model->doc, "//constraints/*");
    for (guint i = 0; i < before->len; i++) {
        g_autofree char *id = cib_attribute(g_ptr_array_index(before, i), "id");
        if (cib_find(after, "//constraints/*[@id='%s']", id) == NULL) {
            g_ptr_array_add(ids, g_steal_pointer(&id));
        }
    }
    return ids;
}

static void
remove_leave(const struct plan *plan, const struct model *model, GPtrArray *lines,
             enum words_tool tool)
{
    g_autoptr(GPtrArray) ids = constraints_gone(plan, model);
    g_ptr_array_add(ids, NULL);
    g_autofree char *all = g_strjoinv(" ", (char **)ids->pdata);
    if (tool == WORDS_PCS) {
        pcs_begin(lines);
        if (*all != '\0') {
            line(lines, PCS "constraint delete %s", all);
        }
        line(lines, PCS "resource meta %s target-role=Stopped", plan->clone);
        pcs_end(lines);
    } else {
        line(lines, "crm configure <<'END'");
        if (*all != '\0') {
            line(lines, "delete %s", all);
        }
        line(lines, "commit");
        line(lines, "END");
        line(lines, "crm resource stop %s", plan->clone);
    }
}

GPtrArray *
words_remove(const struct plan *plan, const struct model *model, unsigned step,
             enum words_tool tool)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    if (step == 0) {
        remove_leave(plan, model, lines, tool);
    } else if (tool == WORDS_PCS) {
        line(lines, "pcs resource delete %s", plan->name);
    } else {
        line(lines, "crm configure delete %s %s", plan->clone, plan->name);
    }
    return lines;
}

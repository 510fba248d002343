/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta-plan.h"

#include <string.h>

#include "mta.h"

#define RELEASE_SERVICE "postern-release/unix"

struct plan {
    struct mta_edit *edit;
    const struct mta_wish *wish;
    json_t *notes;
    char **error_r;
    GPtrArray *owner;        /* of POSTFIX */
    struct postfix *postfix; /* as it is now */
    char *address;
    char *entry; /* ADDRESS, or with an action of its own */
};

/* Where what main.cf says is not what a service does. */
struct list {
    const char *parameter;
    const char *command;
};

static const struct list lists[] = {
    {"smtpd_milters", "smtpd"},
    {"non_smtpd_milters", "cleanup"},
};

static gboolean
reread(struct plan *plan)
{
    g_clear_pointer(&plan->owner, g_ptr_array_unref);
    plan->owner = mta_edit_instance(plan->edit, plan->error_r);
    plan->postfix = plan->owner == NULL ? NULL : g_ptr_array_index(plan->owner, 0);
    return plan->postfix != NULL;
}

G_GNUC_PRINTF(4, 5)
static void
note(struct plan *plan, const char *where, gboolean open, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    json_array_append_new(plan->notes,
                          json_pack("{s:s, s:s, s:b}", "where", where, "what", what, "open", open));
}

/* Others in a list may want to be skipped when they fail: that stays theirs. */
static gboolean
action_is_others(const struct plan *plan)
{
    const struct postfix *p = plan->postfix;
    for (guint i = 0; i < p->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(p->services, i);
        const char *own = g_hash_table_lookup(s->overrides, "milter_default_action");
        if (own != NULL && strcmp(own, "tempfail") != 0) {
            return TRUE;
        }
    }
    if (strcmp(postfix_get(p, NULL, "milter_default_action"), "tempfail") == 0) {
        return FALSE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_autofree char *rest =
            mta_list_remove(p, postfix_get(p, NULL, lists[i].parameter), plan->wish->listen);
        g_autoptr(GPtrArray) others = postfix_milters(rest);
        if (others->len > 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
choose_entry(struct plan *plan)
{
    const struct mta_wish *wish = plan->wish;
    plan->address =
        wish->address != NULL ? g_strdup(wish->address) : mta_address(plan->postfix, wish->listen);
    if (plan->address == NULL) {
        *plan->error_r = g_strdup("milter_listen in postern.conf is empty: Postfix has nothing to "
                                  "connect to");
        return FALSE;
    }
    plan->entry = action_is_others(plan)
                      ? g_strdup_printf("{ %s, default_action=tempfail }", plan->address)
                      : g_strdup(plan->address);
    return TRUE;
}

static gboolean
has_ours(const struct plan *plan, const struct postfix_service *s, const char *parameter)
{
    return mta_list_has(plan->postfix, postfix_get(plan->postfix, s, parameter),
                        plan->wish->listen);
}

static gboolean
edit_list(struct plan *plan, const char *parameter)
{
    if (has_ours(plan, NULL, parameter)) {
        return TRUE;
    }
    g_autofree char *raw = mta_edit_get(plan->edit, NULL, parameter, plan->error_r);
    if (raw == NULL) {
        return FALSE;
    }
    g_autofree char *value = mta_list_add(raw, plan->entry);
    return mta_edit_main(plan->edit, parameter, value, plan->error_r) && reread(plan);
}

static gboolean
edit_action(struct plan *plan)
{
    const char *value = postfix_get(plan->postfix, NULL, "milter_default_action");
    if (strcmp(plan->entry, plan->address) != 0) {
        note(plan, "milter_default_action", FALSE,
             "stays as it is (%s, and what services of master.cf say) for the other milters; "
             "Postern's own entry says tempfail",
             value);
        return TRUE;
    }
    if (strcmp(value, "tempfail") == 0 && mta_edit_is_set(plan->edit, "milter_default_action")) {
        return TRUE;
    }
    return mta_edit_main(plan->edit, "milter_default_action", "tempfail", plan->error_r) &&
           reread(plan);
}

static gboolean
edit_override(struct plan *plan, const char *service, const char *parameter)
{
    g_autofree char *raw = mta_edit_get(plan->edit, service, parameter, plan->error_r);
    if (raw == NULL) {
        return FALSE;
    }
    g_autofree char *longer = mta_list_add(raw, plan->entry);
    g_autofree char *value = mta_list_compact(longer);
    return mta_edit_override(plan->edit, service, parameter, value, plan->error_r);
}

static void
note_left(struct plan *plan, const char *service, enum mta_way way)
{
    if (way == MTA_LOCAL) {
        note(plan, service, FALSE, "left alone: it is a unix socket, the way of released mail");
    } else {
        note(plan, service, FALSE,
             "left alone: only programs of this host reach it, such as a content filter that hands "
             "back mail which was scanned when it came in");
    }
}

/* A service whose own list, or none, counts instead of main.cf's. */
static gboolean
visit_override(struct plan *plan, const struct postfix_service *s, const struct list *list)
{
    const char *own = g_hash_table_lookup(s->overrides, list->parameter);
    g_autofree char *service = g_strdup_printf("%s/%s", s->name, s->type);
    gboolean cleanup = strcmp(s->command, "cleanup") == 0;
    enum mta_way way = cleanup ? MTA_NETWORK : mta_way(s);
    if (own == NULL || has_ours(plan, s, list->parameter)) {
        return TRUE;
    }
    if (way != MTA_NETWORK) {
        note_left(plan, service, way);
        return TRUE;
    }
    if (plan->wish->ask != NULL && !plan->wish->ask(service, own, plan->wish->data)) {
        note(plan, service, TRUE,
             "left alone as you wished: mail that comes in here is not scanned");
        return TRUE;
    }
    return edit_override(plan, service, list->parameter);
}

static void
visit_hidden(struct plan *plan, const struct postfix_service *s)
{
    gboolean takes_mail = strcmp(s->command, "smtpd") == 0 ? mta_way(s) == MTA_NETWORK
                                                           : strcmp(s->command, "pickup") == 0;
    if (takes_mail &&
        postfix_list_has(postfix_get(plan->postfix, s, "receive_override_options"), "no_milters")) {
        g_autofree char *service = g_strdup_printf("%s/%s", s->name, s->type);
        note(plan, service, TRUE,
             "receive_override_options has no_milters: mail that comes in here is not scanned; "
             "take it out");
    }
}

static gboolean
edit_services(struct plan *plan)
{
    const GPtrArray *services = plan->postfix->services;
    for (guint i = 0; i < services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(services, i);
        for (size_t l = 0; l < G_N_ELEMENTS(lists); l++) {
            if (strcmp(s->command, lists[l].command) == 0 && !visit_override(plan, s, &lists[l])) {
                return FALSE;
            }
        }
        visit_hidden(plan, s);
    }
    return TRUE;
}

static gboolean
has_service(const struct postfix *p, const char *name)
{
    for (guint i = 0; i < p->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(p->services, i);
        g_autofree char *full = g_strdup_printf("%s/%s", s->name, s->type);
        if (strcmp(full, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* As docs/OPERATIONS.md, "Releasing", explains. */
static gboolean
edit_release(struct plan *plan)
{
    static const char *const overrides[][2] = {
        {"smtpd_milters", ""},
        {"content_filter", ""},
        {"smtpd_proxy_filter", ""},
        {"receive_override_options", "no_milters"},
        {"local_header_rewrite_clients", ""},
        {"mynetworks", "127.0.0.0/8"},
        {"smtpd_client_restrictions", ""},
        {"smtpd_helo_restrictions", ""},
        {"smtpd_sender_restrictions", ""},
        {"smtpd_relay_restrictions", "permit_mynetworks,reject"},
        {"smtpd_recipient_restrictions", "permit_mynetworks,reject"},
        {"smtpd_data_restrictions", ""},
        {"smtpd_end_of_data_restrictions", ""},
        {"smtpd_tls_security_level", "none"},
        {"smtpd_sasl_auth_enable", "no"},
    };
    if (!plan->wish->release || has_service(plan->postfix, RELEASE_SERVICE)) {
        return TRUE;
    }
    if (!mta_edit_service(plan->edit, RELEASE_SERVICE, "postern-release unix n - n - 2 smtpd",
                          plan->error_r)) {
        return FALSE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(overrides); i++) {
        if (!mta_edit_override(plan->edit, RELEASE_SERVICE, overrides[i][0], overrides[i][1],
                               plan->error_r)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void
plan_clear(struct plan *plan)
{
    g_clear_pointer(&plan->owner, g_ptr_array_unref);
    g_free(plan->address);
    g_free(plan->entry);
}

gboolean
mta_plan(struct mta_edit *edit, const struct mta_wish *wish, json_t *notes, char **error_r)
{
    struct plan plan = {.edit = edit, .wish = wish, .notes = notes, .error_r = error_r};
    gboolean good = reread(&plan) && choose_entry(&plan);
    for (size_t i = 0; good && i < G_N_ELEMENTS(lists); i++) {
        good = edit_list(&plan, lists[i].parameter);
    }
    good = good && edit_action(&plan) && edit_services(&plan) && edit_release(&plan);
    plan_clear(&plan);
    return good;
}

static gboolean
take_from_service(struct plan *plan, const struct postfix_service *s, const struct list *list)
{
    g_autofree char *service = g_strdup_printf("%s/%s", s->name, s->type);
    if (!g_hash_table_contains(s->overrides, list->parameter) ||
        !has_ours(plan, s, list->parameter)) {
        return TRUE;
    }
    g_autofree char *raw = mta_edit_get(plan->edit, service, list->parameter, plan->error_r);
    if (raw == NULL) {
        return FALSE;
    }
    g_autofree char *rest = mta_list_remove(plan->postfix, raw, plan->wish->listen);
    g_autofree char *value = mta_list_compact(rest);
    return mta_edit_override(plan->edit, service, list->parameter, value, plan->error_r);
}

static gboolean
take_from_main(struct plan *plan, const char *parameter)
{
    if (!mta_edit_is_set(plan->edit, parameter)) {
        return TRUE;
    }
    g_autofree char *raw = mta_edit_get(plan->edit, NULL, parameter, plan->error_r);
    if (raw == NULL) {
        return FALSE;
    }
    g_autofree char *rest = mta_list_remove(plan->postfix, raw, plan->wish->listen);
    /* No milters is the preset of both lists. */
    return strcmp(rest, raw) == 0 ||
           mta_edit_main(plan->edit, parameter, *rest == '\0' ? NULL : rest, plan->error_r);
}

gboolean
mta_plan_out(struct mta_edit *edit, const struct mta_wish *wish, char **error_r)
{
    struct plan plan = {.edit = edit, .wish = wish, .error_r = error_r};
    gboolean good = reread(&plan);
    for (size_t i = 0; good && i < G_N_ELEMENTS(lists); i++) {
        good = take_from_main(&plan, lists[i].parameter);
    }
    for (guint i = 0; good && i < plan.postfix->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(plan.postfix->services, i);
        for (size_t l = 0; good && l < G_N_ELEMENTS(lists); l++) {
            good = take_from_service(&plan, s, &lists[l]);
        }
    }
    plan_clear(&plan);
    return good;
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "settings-rule.h"

#include <stddef.h>
#include <string.h>

#include "nearest.h"

static const char *const direction_choices[] = {"inbound", "submission", NULL};

static const struct {
    const char *name;
    size_t offset;
} lists[] = {
    {"senders", offsetof(struct rule, senders)},
    {"recipients", offsetof(struct rule, recipients)},
    {"users", offsetof(struct rule, users)},
    {"clients", offsetof(struct rule, clients)},
};

void
settings_rule_options(cfg_opt_t options[SETTINGS_RULE_OPTIONS])
{
    size_t n = 0;
    cfg_opt_t direction = CFG_STR("direction", NULL, CFGF_NODEFAULT);
    options[n++] = direction;
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        cfg_opt_t list = CFG_STR_LIST(lists[i].name, NULL, CFGF_NODEFAULT);
        options[n++] = list;
    }
    for (int i = 0; i < SITUATION_COUNT; i++) {
        cfg_opt_t action = CFG_STR(situation_name((enum situation)i), NULL, CFGF_NODEFAULT);
        options[n++] = action;
    }
    cfg_opt_t end = CFG_END();
    options[n++] = end;
    g_assert(n == SETTINGS_RULE_OPTIONS);
}

static const char *
last_value(cfg_opt_t *opt)
{
    return cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
}

static int
check_direction(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *value = last_value(opt);
    if (g_strv_contains(direction_choices, value)) {
        return 0;
    }
    const char *near = nearest_name(value, direction_choices);
    cfg_error(cfg, "direction = %s: must be inbound or submission%s%s%s", value,
              near != NULL ? "; did you mean " : "", near != NULL ? near : "",
              near != NULL ? "?" : "");
    return -1;
}

static int
check_pattern(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *value = last_value(opt);
    if (value != NULL && *value != '\0') {
        return 0;
    }
    cfg_error(cfg, "%s has an empty pattern; the null sender is \"<>\"", opt->name);
    return -1;
}

static int
check_client(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *value = last_value(opt);
    const char *wrong = *value == '\0' ? "is empty" : rule_client_wrong(value);
    if (wrong == NULL) {
        return 0;
    }
    cfg_error(cfg, "%s = %s: %s, or the pattern of a host's name", opt->name, value, wrong);
    return -1;
}

void
settings_rule_checks(cfg_t *cfg)
{
    cfg_set_validate_func(cfg, SETTINGS_RULE "|direction", check_direction);
    cfg_set_validate_func(cfg, SETTINGS_RULE "|senders", check_pattern);
    cfg_set_validate_func(cfg, SETTINGS_RULE "|recipients", check_pattern);
    cfg_set_validate_func(cfg, SETTINGS_RULE "|users", check_pattern);
    cfg_set_validate_func(cfg, SETTINGS_RULE "|clients", check_client);
    for (int i = 0; i < SITUATION_COUNT; i++) {
        g_autofree char *name =
            g_strconcat(SETTINGS_RULE "|", situation_name((enum situation)i), NULL);
        cfg_set_validate_func(cfg, name, settings_check_action);
    }
}

static char **
list_of(cfg_t *section, const char *name)
{
    unsigned n = cfg_size(section, name);
    char **list = g_new0(char *, n + 1);
    for (unsigned i = 0; i < n; i++) {
        list[i] = g_strdup(cfg_getnstr(section, name, i));
    }
    return list;
}

static struct rule *
rule_of(cfg_t *section)
{
    struct rule *rule = rule_new(cfg_title(section));
    if (cfg_size(section, "direction") > 0) {
        rule->has_direction = true;
        rule->direction = strcmp(cfg_getstr(section, "direction"), direction_choices[0]) == 0
                              ? DIRECTION_INBOUND
                              : DIRECTION_SUBMISSION;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        *(char ***)(void *)((char *)rule + lists[i].offset) = list_of(section, lists[i].name);
    }
    for (int i = 0; i < SITUATION_COUNT; i++) {
        const char *name = situation_name((enum situation)i);
        rule->says[i] = cfg_size(section, name) > 0;
        if (rule->says[i]) {
            (void)action_parse(cfg_getstr(section, name), &rule->actions[i]);
        }
    }
    return rule;
}

GPtrArray *
settings_rules_of(cfg_t *cfg)
{
    GPtrArray *rules = g_ptr_array_new_with_free_func(rule_free);
    unsigned n = cfg == NULL ? 0 : cfg_size(cfg, SETTINGS_RULE);
    for (unsigned i = 0; i < n; i++) {
        g_ptr_array_add(rules, rule_of(cfg_getnsec(cfg, SETTINGS_RULE, i)));
    }
    return rules;
}

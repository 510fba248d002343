/* SPDX-License-Identifier: GPL-2.0-only */
#include "action.h"

#include <string.h>

static const struct action actions[] = {
    {"start", action_start, false, true},
    {"stop", action_stop, false, true},
    {"monitor", action_monitor, false, false},
    {"promote", action_promote, false, true},
    {"demote", action_demote, false, true},
    {"migrate_to", action_migrate_to, false, true},
    {"migrate_from", action_migrate_from, false, true},
    {"reload", action_reload, false, true},
    {"reload-agent", action_reload_agent, false, true},
    {"validate-all", action_validate_all, true, false},
    {"meta-data", action_meta_data, true, false},
    {"notify", action_notify, true, false},
};

const struct action *
action_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(name, actions[i].name) == 0) {
            return &actions[i];
        }
    }
    return NULL;
}

char *
action_names(void)
{
    GString *names = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        g_string_append_printf(names, "%s%s", i > 0 ? "|" : "", actions[i].name);
    }
    return g_string_free(names, FALSE);
}

/* For clones with notify=true, which this agent has no use for. */
int
action_notify(struct agent *agent)
{
    (void)agent;
    return PCMK_OCF_OK;
}

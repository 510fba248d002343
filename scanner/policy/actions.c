/* SPDX-License-Identifier: GPL-2.0-only */
#include "actions.h"

#include <string.h>
#include <glib.h>

static const char *const action_names[] = {
    [ACTION_ACCEPT] = "accept",         [ACTION_TAG] = "tag",
    [ACTION_REPLACE] = "replace",       [ACTION_DISCARD] = "discard",
    [ACTION_QUARANTINE] = "quarantine", [ACTION_REJECT] = "reject",
    [ACTION_TEMPFAIL] = "tempfail",
};

static const char *const situation_names[] = {
#define SITUATION(upper, lower) [ON_##upper] = "on_" #lower,
    SITUATIONS(SITUATION)
#undef SITUATION
};

const char *
action_name(enum action action)
{
    return action_names[action];
}

bool
action_parse(const char *name, enum action *ret)
{
    for (int i = 0; i < ACTIONS; i++) {
        if (strcmp(action_names[i], name) == 0) {
            *ret = (enum action)i;
            return true;
        }
    }
    return false;
}

char *
action_set_text(unsigned set)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < ACTIONS; i++) {
        if ((set & ACTION_BIT(i)) != 0) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "", action_names[i]);
        }
    }
    return g_string_free(text, FALSE);
}

const char *
situation_name(enum situation situation)
{
    return situation_names[situation];
}

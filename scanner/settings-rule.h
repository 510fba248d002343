/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SETTINGS_RULE_H
#define SETTINGS_RULE_H

/* Sections `rule "NAME" {...}`, as libconfuse reads them; a part of settings.c. */

#include <confuse.h>

#include "rule.h"

#define SETTINGS_RULE "rule"
/* Conditions, the on_ settings, and the end. */
#define SETTINGS_RULE_OPTIONS (5 + SITUATION_COUNT + 1)

void settings_rule_options(cfg_opt_t options[SETTINGS_RULE_OPTIONS]);
/* Says what values are looked at while CFG is read. */
void settings_rule_checks(cfg_t *cfg);
/* All rules of what was read; CFG may be NULL. */
GPtrArray *settings_rules_of(cfg_t *cfg);

/* In settings.c: a value of an on_ setting, which has the same limits here and there. */
int settings_check_action(cfg_t *cfg, cfg_opt_t *opt);

#endif

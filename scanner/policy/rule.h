/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RULE_H
#define RULE_H

/*
 * A section `rule "NAME" {...}` of the configuration: for whom it holds, and what it says
 * otherwise than the settings outside. For each recipient the first rule that fits counts; what
 * it does not say is as outside.
 */

#include <stdbool.h>
#include <glib.h>

#include "actions.h"
#include "envelope.h"

/* A pattern: *, ? and letters of either case; without "@" it is a domain; "<>" is no address. */
struct rule {
    char *name;
    bool has_direction;
    enum direction direction;
    char **senders; /* patterns; an empty list fits all, here and below */
    char **recipients;
    char **users;   /* patterns of SASL users, taken whole */
    char **clients; /* networks (networks.h), or patterns of host names */
    bool says[SITUATION_COUNT];
    enum action actions[SITUATION_COUNT];
};

struct rule *rule_new(const char *name);
/* NULL is fine; a GDestroyNotify. */
void rule_free(void *rule);

/* RECIPIENT: one of the envelope's; NULL when it has none, then a rule for recipients never fits.
 */
bool rule_fits(const struct rule *rule, const struct envelope *envelope, const char *recipient);

/* As in the configuration, on one line: "{ direction = inbound, on_infected = discard }". */
char *rule_text(const struct rule *rule);

/* What is wrong with an entry of CLIENTS (static), or NULL. */
const char *rule_client_wrong(const char *client);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#include "rule.h"

#include <string.h>

#include "networks.h"

struct rule *
rule_new(const char *name)
{
    struct rule *rule = g_new0(struct rule, 1);
    rule->name = g_strdup(name);
    return rule;
}

void
rule_free(void *p)
{
    struct rule *rule = p;
    if (rule == NULL) {
        return;
    }
    g_free(rule->name);
    g_strfreev(rule->senders);
    g_strfreev(rule->recipients);
    g_strfreev(rule->users);
    g_strfreev(rule->clients);
    g_free(rule);
}

/* Valid UTF-8 in lower case: what GPatternSpec needs, and what people mean. */
static char *
fold(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return g_utf8_strdown(valid, -1);
}

static bool
matches(const char *pattern, const char *text)
{
    g_autofree char *folded_pattern = fold(pattern);
    g_autofree char *folded = fold(text);
    return g_pattern_match_simple(folded_pattern, folded);
}

/*
 * As everybody writes it: a client may say <@relay:"jo"@lab.test.> for <jo@lab.test> (RFC 5321,
 * 4.1.2 and appendix C), and the MTA delivers both to the same.
 */
static char *
address_plain(const char *address)
{
    const char *route = *address == '@' ? strchr(address, ':') : NULL;
    const char *from = route != NULL ? route + 1 : address;
    const char *at = strrchr(from, '@');
    const char *end = at != NULL ? at : from + strlen(from);
    GString *plain = g_string_new(NULL);
    for (const char *p = from; p < end; p++) {
        p += *p == '\\' && p + 1 < end ? 1 : 0;
        if (*p != '"' || (p > from && p[-1] == '\\')) {
            g_string_append_c(plain, *p);
        }
    }
    g_string_append(plain, end);
    if (at != NULL && g_str_has_suffix(at, ".")) {
        g_string_truncate(plain, plain->len - 1);
    }
    return g_string_free(plain, FALSE);
}

static bool
address_matches(const char *pattern, const char *address)
{
    const char *at = strrchr(address, '@');
    if (strcmp(pattern, "<>") == 0) {
        return *address == '\0';
    }
    return matches(pattern, strchr(pattern, '@') != NULL || at == NULL ? address : at + 1);
}

static bool
client_matches(char *pattern, const struct envelope *envelope)
{
    char *const one[] = {pattern, NULL};
    if (network_wrong(pattern) == NULL) {
        return networks_have(one, envelope->client_addr);
    }
    return envelope->client_name != NULL && matches(pattern, envelope->client_name);
}

static bool
addresses_fit(char **patterns, const char *address)
{
    bool fits = patterns == NULL || *patterns == NULL;
    g_autofree char *plain = fits || address == NULL ? NULL : address_plain(address);
    for (char **p = patterns; !fits && plain != NULL && *p != NULL; p++) {
        fits = address_matches(*p, plain) || address_matches(*p, address);
    }
    return fits;
}

static bool
users_fit(char **patterns, const char *user)
{
    bool fits = patterns == NULL || *patterns == NULL;
    for (char **p = patterns; !fits && user != NULL && *p != NULL; p++) {
        fits = matches(*p, user);
    }
    return fits;
}

static bool
clients_fit(char **patterns, const struct envelope *envelope)
{
    bool fits = patterns == NULL || *patterns == NULL;
    for (char **p = patterns; !fits && *p != NULL; p++) {
        fits = client_matches(*p, envelope);
    }
    return fits;
}

bool
rule_fits(const struct rule *rule, const struct envelope *envelope, const char *recipient)
{
    return (!rule->has_direction || rule->direction == envelope->direction) &&
           addresses_fit(rule->senders, envelope->sender) &&
           addresses_fit(rule->recipients, recipient) &&
           users_fit(rule->users, envelope->auth_user) && clients_fit(rule->clients, envelope);
}

/* A host's name has no slash, no space and no colon: those were meant as a network. */
const char *
rule_client_wrong(const char *client)
{
    const char *wrong = network_wrong(client);
    bool is_number = client[strspn(client, "0123456789./")] == '\0';
    return wrong == NULL || (!is_number && strpbrk(client, "/: ") == NULL) ? NULL : wrong;
}

static void
list_print(GString *text, const char *name, char **list)
{
    if (list != NULL && *list != NULL) {
        g_autofree char *joined = g_strjoinv("\", \"", list);
        g_string_append_printf(text, "%s%s = {\"%s\"}", text->len > 1 ? ", " : " ", name, joined);
    }
}

char *
rule_text(const struct rule *rule)
{
    GString *text = g_string_new("{");
    if (rule->has_direction) {
        g_string_append_printf(text, " direction = %s",
                               rule->direction == DIRECTION_INBOUND ? "inbound" : "submission");
    }
    list_print(text, "senders", rule->senders);
    list_print(text, "recipients", rule->recipients);
    list_print(text, "users", rule->users);
    list_print(text, "clients", rule->clients);
    for (int i = 0; i < SITUATION_COUNT; i++) {
        if (rule->says[i]) {
            g_string_append_printf(text, "%s%s = %s", text->len > 1 ? ", " : " ",
                                   situation_name((enum situation)i),
                                   action_name(rule->actions[i]));
        }
    }
    g_string_append(text, " }");
    return g_string_free(text, FALSE);
}

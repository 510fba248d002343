/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy.h"

#include <stddef.h>
#include <string.h>

#include "rule.h"

/* A reply line may have 512 bytes (RFC 5321, 4.5.3.1.5); a header line should stay below 998. */
#define NAME_MAX_LENGTH 80
#define REASON_ITEMS 5
#define SECONDS_PER_DAY 86400

/* What the sender is told: words of his, not of ours. */
static const char *const refusals[SITUATION_COUNT] = {
    [ON_ENCRYPTED] = "it has content that is protected by a password and cannot be scanned",
    [ON_LIMIT] = "it is too large or too deeply nested to be scanned completely",
    [ON_UNSUPPORTED] = "it has an attachment of a kind that cannot be scanned",
    [ON_DAMAGED] = "it has an attachment that is damaged and cannot be scanned",
    [ON_END_TO_END] = "it has content that only its recipient can decrypt",
    [ON_DEFECT] = "its structure (MIME) is broken",
    [ON_ERROR] = "it could not be scanned for viruses",
    [ON_OLD] = "it could not be scanned for new viruses",
};

static const enum situation cause_situations[] = {
    [CAUSE_ENCRYPTED] = ON_ENCRYPTED,     [CAUSE_LIMIT] = ON_LIMIT,
    [CAUSE_UNSUPPORTED] = ON_UNSUPPORTED, [CAUSE_DAMAGED] = ON_DAMAGED,
    [CAUSE_END_TO_END] = ON_END_TO_END,
};

/* As settings.def has them. */
static enum action
action_preset(enum situation situation)
{
    static const struct {
        const char *name;
        const char *preset;
    } rows[] = {
#define SETTING(kind, name, preset, low, high, text) {#name, preset},
#include "settings.def"
#undef SETTING
    };
    enum action action = ACTION_TEMPFAIL;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].name, situation_name(situation)) == 0) {
            (void)action_parse(rows[i].preset, &action);
        }
    }
    return action;
}

/* Names come from signature files and from what a worker says: nothing of them may end a line. */
static char *
plain(const char *text)
{
    char *copy = g_strndup(text, NAME_MAX_LENGTH);
    for (char *p = copy; *p != '\0'; p++) {
        if (!g_ascii_isprint(*p) || *p == '\\' || *p == '%') {
            *p = '_';
        }
    }
    return copy;
}

static void
item_add(GString *list, guint index, guint total, const char *separator, const char *what,
         const char *name)
{
    if (index == REASON_ITEMS) {
        g_string_append_printf(list, " and %u more", total - index);
    }
    if (index < REASON_ITEMS) {
        g_autofree char *clean = plain(name);
        g_string_append(list, index > 0 ? ", " : "");
        g_string_append_printf(list, "%s%s%s", what, separator, clean);
    }
}

static char *
texts_join(const GPtrArray *texts)
{
    GString *list = g_string_new(NULL);
    for (guint i = 0; i < texts->len; i++) {
        item_add(list, i, texts->len, "", "", g_ptr_array_index(texts, i));
    }
    return g_string_free(list, FALSE);
}

static char *
unscanned_join(const struct facts *facts)
{
    GString *list = g_string_new(NULL);
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(facts->unscanned, i);
        item_add(list, i, facts->unscanned->len, ": ", cause_name(u->cause), u->detail);
    }
    return g_string_free(list, FALSE);
}

/* --- what is the matter --------------------------------------------------------------------- */

static unsigned
situations_seen(const struct facts *facts)
{
    unsigned set = 0;
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(facts->unscanned, i);
        set |= 1U << cause_situations[u->cause];
    }
    return facts->defects->len > 0 ? set | 1U << ON_DEFECT : set;
}

/* What was found is certain, whatever else went wrong; where a scan failed nothing else is. */
static unsigned
situations_of(const struct facts *facts, enum verdict verdict)
{
    if (verdict == VERDICT_ERROR) {
        return 1U << ON_ERROR;
    }
    unsigned set = situations_seen(facts);
    if (verdict == VERDICT_INFECTED) {
        set |= 1U << ON_INFECTED;
    }
    return set;
}

/* --- what is to be done about it ------------------------------------------------------------ */

static enum action
action_set(const struct settings *settings, enum situation situation)
{
    static const size_t offsets[] = {
#define SITUATION(upper, lower) [ON_##upper] = offsetof(struct settings, on_##lower),
        SITUATIONS(SITUATION)
#undef SITUATION
    };
    if (settings != NULL) {
        return (enum action) *
               (const int *)(const void *)((const char *)settings + offsets[situation]);
    }
    return action_preset(situation);
}

/* The first rule that fits, NULL = none. */
static const struct rule *
rule_for(const struct settings *settings, const struct envelope *envelope, const char *recipient)
{
    guint n = settings == NULL || settings->rules == NULL ? 0 : settings->rules->len;
    for (guint i = 0; i < n; i++) {
        const struct rule *rule = g_ptr_array_index(settings->rules, i);
        if (rule_fits(rule, envelope, recipient)) {
            return rule;
        }
    }
    return NULL;
}

/* What is asked for so far: per situation and in all. */
struct wish {
    enum action actions[SITUATION_COUNT];
    enum action action;
    enum situation situation;
    const struct rule *rule;
    bool any;
};

static void
wish_add(struct wish *wish, const struct settings *settings, const struct rule *rule,
         enum situation situation)
{
    bool by_rule = rule != NULL && rule->says[situation];
    enum action action = by_rule ? rule->actions[situation] : action_set(settings, situation);
    wish->actions[situation] = MAX(wish->actions[situation], action);
    if (!wish->any || action > wish->action ||
        (action == wish->action && situation < wish->situation)) {
        wish->any = true;
        wish->action = action;
        wish->situation = situation;
        wish->rule = by_rule ? rule : NULL;
    }
}

/* The strictest that anybody asks for, for any recipient. */
static void
wish_make(struct wish *wish, const struct settings *settings, const struct envelope *envelope,
          unsigned situations)
{
    guint recipients = envelope == NULL ? 0 : envelope->recipients->len;
    *wish = (struct wish){.action = ACTION_ACCEPT};
    for (guint r = 0; r < MAX(recipients, 1); r++) {
        const char *recipient = recipients == 0 ? NULL : g_ptr_array_index(envelope->recipients, r);
        const struct rule *rule = envelope == NULL ? NULL : rule_for(settings, envelope, recipient);
        for (int i = 0; i < SITUATION_COUNT; i++) {
            if ((situations & 1U << i) != 0) {
                wish_add(wish, settings, rule, (enum situation)i);
            }
        }
    }
}

/* --- in words ------------------------------------------------------------------------------- */

static char *
error_reason(const struct facts *facts, const char *error)
{
    if (facts == NULL) {
        return plain(error == NULL ? "no result" : error);
    }
    return facts->faults->len > 0 ? texts_join(facts->faults)
                                  : g_strdup("the scan was not completed");
}

static char *
reason_of(const struct facts *facts, const char *error, enum verdict verdict)
{
    if (verdict == VERDICT_ERROR) {
        return error_reason(facts, error);
    }
    if (verdict == VERDICT_INFECTED) {
        return texts_join(facts->detections);
    }
    if (verdict == VERDICT_UNSCANNED) {
        return unscanned_join(facts);
    }
    g_autofree char *defects = texts_join(facts->defects);
    return facts->defects->len > 0 ? g_strconcat("defect: ", defects, NULL) : g_strdup("");
}

static char *
refusal_of(enum situation situation, const struct facts *facts)
{
    if (situation == ON_INFECTED) {
        g_assert(facts != NULL);
        g_autofree char *name = plain(g_ptr_array_index(facts->detections, 0));
        return g_strdup_printf("550 5.7.1 Message refused: virus found (%s)", name);
    }
    return g_strdup_printf("550 5.7.1 Message refused: %s", refusals[situation]);
}

static char *
reply_of(enum action action, enum situation situation, const struct facts *facts)
{
    if (action < ACTION_QUARANTINE) {
        return NULL;
    }
    if (action < ACTION_TEMPFAIL) {
        return refusal_of(situation, facts);
    }
    return g_strdup("451 4.7.1 The message cannot be scanned for viruses now, "
                    "please try again later");
}

/* --- decisions ------------------------------------------------------------------------------ */

void
policy_decide_mail(const struct settings *settings, const struct envelope *envelope,
                   const struct facts *facts, const char *error, struct decision *ret_decision)
{
    struct wish wish;
    enum verdict verdict = facts == NULL ? VERDICT_ERROR : facts_verdict(facts);
    unsigned situations = situations_of(facts, verdict);
    wish_make(&wish, settings, envelope, situations);
    *ret_decision = (struct decision){
        .action = wish.action,
        .verdict = verdict,
        .reply = reply_of(wish.action, wish.situation, facts),
        .reason = reason_of(facts, error, verdict),
        .end_to_end = (situations & 1U << ON_END_TO_END) != 0,
        .rule = wish.rule == NULL ? NULL : plain(wish.rule->name),
    };
    for (int i = 0; wish.action == ACTION_REPLACE && i < SITUATION_COUNT; i++) {
        if (wish.actions[i] == ACTION_REPLACE) {
            ret_decision->replacing |= 1U << i;
        }
    }
}

void
policy_decide(const struct envelope *envelope, const struct facts *facts, const char *error,
              struct decision *ret_decision)
{
    (void)envelope;
    policy_decide_mail(NULL, NULL, facts, error, ret_decision);
}

static void
reason_add(struct decision *decision, const char *why)
{
    bool is_first = *decision->reason == '\0';
    char *both = is_first ? g_strdup(why) : g_strdup_printf("%s (%s)", decision->reason, why);
    g_free(decision->reason);
    decision->reason = both;
}

static void
reply_set(struct decision *decision, const char *reply)
{
    g_free(decision->reply);
    decision->reply = g_strdup(reply);
}

/* What of the whole message is refused for, when it was to be delivered in parts. */
static const char *
whole_refusal(const struct decision *decision)
{
    return decision->verdict == VERDICT_INFECTED
               ? "550 5.7.1 Message refused: virus found"
               : "550 5.7.1 Message refused: it has content that cannot be scanned";
}

void
policy_replace_failed(struct decision *decision, const char *why)
{
    decision->action = ACTION_QUARANTINE;
    g_clear_pointer(&decision->key, g_free);
    reason_add(decision, why);
    reply_set(decision, whole_refusal(decision));
}

void
policy_old(const struct settings *settings, const struct envelope *envelope, guint64 age_s,
           struct decision *decision)
{
    struct wish wish;
    g_autofree char *why =
        age_s == G_MAXUINT64 ? g_strdup("nobody knows how old the signatures are")
                             : g_strdup_printf("the signatures are %" G_GUINT64_FORMAT " days old",
                                               age_s / SECONDS_PER_DAY);
    if (decision->action > ACTION_REPLACE) {
        return;
    }
    wish_make(&wish, settings, envelope, 1U << ON_OLD);
    reason_add(decision, why);
    decision->verdict = decision->verdict == VERDICT_CLEAN ? VERDICT_UNSCANNED : decision->verdict;
    if (wish.action <= decision->action) {
        return;
    }
    decision->action = wish.action;
    decision->replacing = 0;
    g_free(decision->rule);
    decision->rule = wish.rule == NULL ? NULL : plain(wish.rule->name);
    g_free(decision->reply);
    decision->reply = reply_of(wish.action, ON_OLD, NULL);
}

void
policy_emptied(const struct settings *settings, const struct envelope *envelope,
               struct decision *decision)
{
    struct wish wish;
    wish_make(&wish, settings, envelope, 1U << ON_EMPTIED);
    decision->action = wish.action;
    reason_add(decision, "nothing would remain");
    if (wish.action == ACTION_TEMPFAIL) {
        g_free(decision->reply);
        decision->reply = reply_of(wish.action, ON_EMPTIED, NULL);
    } else if (wish.action >= ACTION_QUARANTINE) {
        reply_set(decision, whole_refusal(decision));
    }
}

void
policy_decide_poison(guint64 strikes, struct decision *ret_decision)
{
    *ret_decision = (struct decision){
        .action = ACTION_QUARANTINE,
        .verdict = VERDICT_ERROR,
        .reply = g_strdup("550 5.7.1 Message refused: it cannot be scanned for viruses"),
        .reason = g_strdup_printf("crashes the scanner: %" G_GUINT64_FORMAT " times", strikes),
    };
}

bool
policy_keeps(enum action action)
{
    return action == ACTION_QUARANTINE || action == ACTION_DISCARD || action == ACTION_REPLACE;
}

void
policy_store_failed(struct decision *decision, bool state_full)
{
    g_clear_pointer(&decision->key, g_free);
    decision->replacing = 0;
    if (state_full && decision->verdict == VERDICT_INFECTED &&
        decision->action == ACTION_QUARANTINE) {
        decision->action = ACTION_REJECT;
        return;
    }
    decision->action = ACTION_TEMPFAIL;
    reply_set(decision, "451 4.3.0 The message cannot be processed now, please try again later");
}

void
decision_clear(struct decision *decision)
{
    g_clear_pointer(&decision->reply, g_free);
    g_clear_pointer(&decision->reason, g_free);
    g_clear_pointer(&decision->rule, g_free);
    g_clear_pointer(&decision->key, g_free);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy.h"

/* A reply line may have 512 bytes (RFC 5321, 4.5.3.1.5); a header line should stay below 998. */
#define NAME_MAX_LENGTH 80
#define REASON_ITEMS 5

static const char *const action_names[] = {
    [ACTION_ACCEPT] = "accept",
    [ACTION_QUARANTINE] = "quarantine",
    [ACTION_REJECT] = "reject",
    [ACTION_TEMPFAIL] = "tempfail",
};

/* What the sender is told: words of his, not of ours. */
static const char *const refusals[] = {
    [CAUSE_ENCRYPTED] = "it has content that is protected by a password and cannot be scanned",
    [CAUSE_LIMIT] = "it is too large or too deeply nested to be scanned completely",
    [CAUSE_UNSUPPORTED] = "it has an attachment of a kind that cannot be scanned",
    [CAUSE_DAMAGED] = "it has an attachment that is damaged and cannot be scanned",
    [CAUSE_END_TO_END] = "it has content that only its recipient can decrypt",
};

const char *
action_name(enum action action)
{
    return action_names[action];
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

static void
decide_clean(const struct facts *facts, const char *error, struct decision *decision)
{
    (void)facts;
    (void)error;
    decision->action = ACTION_ACCEPT;
    decision->reason = g_strdup("");
}

static void
decide_infected(const struct facts *facts, const char *error, struct decision *decision)
{
    (void)error;
    g_autofree char *name = plain(g_ptr_array_index(facts->detections, 0));
    decision->action = ACTION_QUARANTINE;
    decision->reply = g_strdup_printf("550 5.7.1 Message refused: virus found (%s)", name);
    decision->reason = texts_join(facts->detections);
}

/* The cause to refuse for: the first that is not end-to-end encryption, if there is any. */
static enum cause
worst_cause(const struct facts *facts)
{
    for (guint i = 0; i < facts->unscanned->len; i++) {
        const struct unscanned *u = g_ptr_array_index(facts->unscanned, i);
        if (u->cause != CAUSE_END_TO_END) {
            return u->cause;
        }
    }
    return CAUSE_END_TO_END;
}

/*
 * Mail that only its recipient can decrypt is delivered, as people who encrypt expect, but never
 * as clean: its header says "not fully scanned".
 */
static void
decide_unscanned(const struct facts *facts, const char *error, struct decision *decision)
{
    (void)error;
    enum cause cause = worst_cause(facts);
    if (cause == CAUSE_END_TO_END) {
        decision->action = ACTION_ACCEPT;
        decision->reason = unscanned_join(facts);
        return;
    }
    decision->action = ACTION_QUARANTINE;
    decision->reply = g_strdup_printf("550 5.7.1 Message refused: %s", refusals[cause]);
    decision->reason = unscanned_join(facts);
}

static void
decide_error(const struct facts *facts, const char *error, struct decision *decision)
{
    decision->action = ACTION_TEMPFAIL;
    decision->reply = g_strdup("451 4.7.1 The message cannot be scanned for viruses now, "
                               "please try again later");
    if (facts == NULL) {
        decision->reason = plain(error == NULL ? "no result" : error);
    } else if (facts->faults->len > 0) {
        decision->reason = texts_join(facts->faults);
    } else {
        decision->reason = g_strdup("the scan was not completed");
    }
}

typedef void decide(const struct facts *facts, const char *error, struct decision *decision);

static decide *const decides[] = {
    [VERDICT_CLEAN] = decide_clean,
    [VERDICT_INFECTED] = decide_infected,
    [VERDICT_UNSCANNED] = decide_unscanned,
    [VERDICT_ERROR] = decide_error,
};

void
policy_decide(const struct envelope *envelope, const struct facts *facts, const char *error,
              struct decision *ret_decision)
{
    (void)envelope;
    *ret_decision = (struct decision){0};
    ret_decision->verdict = facts == NULL ? VERDICT_ERROR : facts_verdict(facts);
    decides[ret_decision->verdict](facts, error, ret_decision);
}

void
policy_store_failed(struct decision *decision, bool state_full)
{
    if (state_full && decision->verdict == VERDICT_INFECTED) {
        decision->action = ACTION_REJECT;
        return;
    }
    decision->action = ACTION_TEMPFAIL;
    g_free(decision->reply);
    decision->reply = g_strdup("451 4.3.0 The message cannot be processed now, "
                               "please try again later");
}

void
decision_clear(struct decision *decision)
{
    g_clear_pointer(&decision->reply, g_free);
    g_clear_pointer(&decision->reason, g_free);
}

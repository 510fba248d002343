/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-verdict.h"

#include <string.h>

#define LIMITS "Heuristics.Limits.Exceeded"
#define ENCRYPTED "Heuristics.Encrypted"
#define NAME_MAX_LENGTH 128
#define ERROR_MAX_LENGTH 200
#define SECONDS_PER_DAY 86400

static const char *const cause_names[] = {
    [CAUSE_ENCRYPTED] = ENCRYPTED ".Archive",    [CAUSE_LIMIT] = LIMITS ".Limit",
    [CAUSE_UNSUPPORTED] = LIMITS ".Unsupported", [CAUSE_DAMAGED] = LIMITS ".Damaged",
    [CAUSE_END_TO_END] = ENCRYPTED ".Mail",
};

/* Names come from signature files and from what a worker says; clients split lines at ": ". */
static char *
plain_name(const char *text)
{
    char *copy = g_strndup(text, NAME_MAX_LENGTH);
    for (char *p = copy; *p != '\0'; p++) {
        if (!g_ascii_isgraph(*p) || *p == ':') {
            *p = '_';
        }
    }
    return copy;
}

static char *
plain_text(const char *text)
{
    char *copy = g_strndup(text, ERROR_MAX_LENGTH);
    for (char *p = copy; *p != '\0'; p++) {
        if (!g_ascii_isprint(*p)) {
            *p = '_';
        }
    }
    return copy;
}

/* It says already that something was not fully scanned. */
static bool
is_heuristic(const char *name)
{
    return g_str_has_prefix(name, LIMITS) || g_str_has_prefix(name, ENCRYPTED);
}

static void
name_add(GPtrArray *names, const char *name)
{
    g_autofree char *plain = plain_name(name);
    if (!g_ptr_array_find_with_equal_func(names, plain, g_str_equal, NULL)) {
        g_ptr_array_add(names, g_steal_pointer(&plain));
    }
}

/* libclamav's own name for it, or one of the same family. */
static void
unscanned_add(GPtrArray *names, const struct unscanned *unscanned)
{
    if (is_heuristic(unscanned->detail)) {
        name_add(names, unscanned->detail);
    } else {
        name_add(names, cause_names[unscanned->cause]);
    }
}

/* What only the recipient can decrypt is the least of them. */
static void
unscanned_add_all(GPtrArray *names, const struct facts *facts)
{
    for (int end_to_end = 0; end_to_end < 2; end_to_end++) {
        for (guint i = 0; i < facts->unscanned->len; i++) {
            const struct unscanned *unscanned = g_ptr_array_index(facts->unscanned, i);
            if ((unscanned->cause == CAUSE_END_TO_END) == (end_to_end == 1)) {
                unscanned_add(names, unscanned);
            }
        }
    }
}

static GPtrArray *
names_of(const struct facts *facts)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < facts->detections->len; i++) {
        name_add(names, g_ptr_array_index(facts->detections, i));
    }
    unscanned_add_all(names, facts);
    if (names->len == 0) {
        /* More parts than facts can describe, say. */
        name_add(names, LIMITS ".MaxFiles");
    }
    return names;
}

static const char *
error_of(const struct scan_outcome *outcome)
{
    if (outcome->facts == NULL) {
        return outcome->error != NULL ? outcome->error : "no result";
    }
    const GPtrArray *faults = outcome->facts->faults;
    return faults->len > 0 ? g_ptr_array_index(faults, 0) : "the scan was not completed";
}

void
clamd_verdict_of(const struct scan_outcome *outcome, struct clamd_verdict *ret)
{
    *ret = (struct clamd_verdict){0};
    ret->verdict = outcome->facts == NULL ? VERDICT_ERROR : facts_verdict(outcome->facts);
    if (ret->verdict == VERDICT_INFECTED || ret->verdict == VERDICT_UNSCANNED) {
        ret->names = names_of(outcome->facts);
    } else if (ret->verdict == VERDICT_ERROR) {
        ret->error = plain_text(error_of(outcome));
    }
}

void
clamd_verdict_too_old(guint64 age_s, struct clamd_verdict *verdict)
{
    if (verdict->verdict == VERDICT_CLEAN) {
        verdict->verdict = VERDICT_ERROR;
        verdict->error = age_s == G_MAXUINT64
                             ? g_strdup("Nobody knows how old the signatures are.")
                             : g_strdup_printf("The signatures are %" G_GUINT64_FORMAT " days old.",
                                               age_s / SECONDS_PER_DAY);
    }
}

void
clamd_verdict_too_large(struct clamd_verdict *ret)
{
    *ret = (struct clamd_verdict){.verdict = VERDICT_UNSCANNED};
    ret->names = g_ptr_array_new_with_free_func(g_free);
    name_add(ret->names, CLAMD_TOO_LARGE);
}

void
clamd_verdict_error(const char *text, struct clamd_verdict *ret)
{
    *ret = (struct clamd_verdict){.verdict = VERDICT_ERROR, .error = plain_text(text)};
}

void
clamd_verdict_clear(struct clamd_verdict *verdict)
{
    g_clear_pointer(&verdict->names, g_ptr_array_unref);
    g_clear_pointer(&verdict->error, g_free);
}

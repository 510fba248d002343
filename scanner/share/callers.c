/* SPDX-License-Identifier: GPL-2.0-only */
#include "callers.h"

struct period {
    char nonce[SEAL_NONCE_DIGITS + 1];
    GHashTable *seen; /* those of the requests that were made with it */
};

struct callers {
    struct period now;
    struct period before;
    gint64 since;
};

static void
period_begin(struct period *period)
{
    seal_nonce(period->nonce);
    period->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

struct callers *
callers_new(gint64 now)
{
    struct callers *callers = g_new0(struct callers, 1);
    period_begin(&callers->now);
    period_begin(&callers->before);
    callers->since = now;
    return callers;
}

void
callers_free(struct callers *callers)
{
    if (callers != NULL) {
        g_hash_table_unref(callers->now.seen);
        g_hash_table_unref(callers->before.seen);
        g_free(callers);
    }
}

void
callers_age(struct callers *callers, gint64 now)
{
    if (now - callers->since >= CALLERS_PERIOD) {
        g_hash_table_unref(callers->before.seen);
        callers->before = callers->now;
        period_begin(&callers->now);
        callers->since = now;
    }
}

const char *
callers_nonce(const struct callers *callers)
{
    return callers->now.nonce;
}

gboolean
callers_admit(struct callers *callers, const struct seal_request *request)
{
    struct period *period = seal_is_same(request->theirs, callers->now.nonce) ? &callers->now
                            : seal_is_same(request->theirs, callers->before.nonce)
                                ? &callers->before
                                : NULL;
    return period != NULL && g_hash_table_size(period->seen) < CALLERS_MAX &&
           g_hash_table_add(period->seen, g_strdup(request->own));
}

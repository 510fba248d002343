/* SPDX-License-Identifier: GPL-2.0-only */
#include "probe-log.h"

#include <string.h>

struct probe_log *
probe_log_new(gboolean infected_taken)
{
    struct probe_log *log = g_new0(struct probe_log, 1);
    log->tries = g_ptr_array_new_with_free_func((GDestroyNotify)probe_try_free);
    log->infected_taken = infected_taken;
    return log;
}

void
probe_try_free(struct probe_try *try)
{
    if (try != NULL) {
        g_free(try->text);
        g_free(try);
    }
}

void
probe_log_free(struct probe_log *log)
{
    if (log != NULL) {
        g_ptr_array_unref(log->tries);
        g_free(log);
    }
}

void
probe_log_add(struct probe_log *log, struct probe_try *try)
{
    log->made = MAX(log->made, try->number + 1);
    g_ptr_array_add(log->tries, try);
}

static const struct probe_try *
try_at(const struct probe_log *log, guint i)
{
    return g_ptr_array_index(log->tries, i);
}

gboolean
probe_try_is_good(const struct probe_log *log, const struct probe_try *try)
{
    gboolean taken = !try->infected || log->infected_taken;
    return try->end == (taken ? PROBE_ACCEPTED : PROBE_REFUSED);
}

gboolean
probe_end_is_final(enum probe_end end)
{
    return end == PROBE_ACCEPTED || end == PROBE_REFUSED || end == PROBE_UNWANTED;
}

unsigned
probe_log_good_since(const struct probe_log *log, gint64 since)
{
    unsigned good = 0;
    for (guint i = log->tries->len; i > 0; i--) {
        const struct probe_try *try = try_at(log, i - 1);
        if (try->begun < since) {
            continue;
        }
        if (!probe_try_is_good(log, try)) {
            break;
        }
        good++;
    }
    return good;
}

static gboolean
is_within(const struct probe_try *try, gint64 from, gint64 until)
{
    return try->begun >= from && try->begun < until;
}

static void
count_ends(const struct probe_log *log, gint64 from, gint64 until, struct probe_outage *o)
{
    for (guint i = 0; i < log->tries->len; i++) {
        const struct probe_try *try = try_at(log, i);
        if (!is_within(try, from, until)) {
            continue;
        }
        o->tries++;
        if (probe_try_is_good(log, try)) {
            o->good++;
            continue;
        }
        o->ends[try->end]++;
        if (o->refused_at == 0 || try->begun < o->refused_at) {
            o->refused_at = try->begun;
        }
        /* Until the search below: the last refused one. */
        o->accepted_at = MAX(o->accepted_at, try->begun);
    }
}

/* When the first good answer came after MOMENT; 0 = none came. */
static gint64
first_good_after(const struct probe_log *log, gint64 moment)
{
    gint64 first = 0;
    for (guint i = 0; i < log->tries->len; i++) {
        const struct probe_try *try = try_at(log, i);
        if (try->ended > moment && probe_try_is_good(log, try) &&
            (first == 0 || try->ended < first)) {
            first = try->ended;
        }
    }
    return first;
}

void
probe_log_outage(const struct probe_log *log, gint64 from, gint64 until,
                 struct probe_outage *outage_r)
{
    memset(outage_r, 0, sizeof *outage_r);
    count_ends(log, from, until, outage_r);
    if (outage_r->refused_at != 0) {
        outage_r->accepted_at = first_good_after(log, outage_r->accepted_at);
    }
}

double
probe_outage_seconds(const struct probe_outage *outage)
{
    if (outage->refused_at == 0) {
        return 0;
    }
    if (outage->accepted_at == 0) {
        return -1;
    }
    return (double)(outage->accepted_at - outage->refused_at) / G_USEC_PER_SEC;
}

/* What the tries of one probe have come to. */
struct fate {
    gboolean seen;
    gboolean infected;
    gboolean uncertain;
    enum probe_end end; /* of its last try */
};

static void
sum_final(const struct probe_log *log, const struct fate *fate, struct probe_sums *s)
{
    gboolean taken = fate->end == PROBE_ACCEPTED;
    s->twice += taken && fate->uncertain;
    if (fate->end == PROBE_UNWANTED) {
        s->unwanted++;
    } else if (!fate->infected) {
        s->clean_accepted += taken;
        s->clean_refused += !taken;
    } else if (taken == log->infected_taken) {
        s->infected_refused++;
    } else {
        s->infected_passed += taken;
    }
}

void
probe_log_sums(const struct probe_log *log, struct probe_sums *sums_r)
{
    g_autofree struct fate *fates = g_new0(struct fate, log->made + 1);
    memset(sums_r, 0, sizeof *sums_r);
    for (guint i = 0; i < log->tries->len; i++) {
        const struct probe_try *try = try_at(log, i);
        struct fate *fate = &fates[try->number];
        fate->seen = TRUE;
        fate->infected = try->infected;
        fate->uncertain |= try->end == PROBE_UNCERTAIN;
        fate->end = try->end;
    }
    for (unsigned n = 0; n < log->made; n++) {
        const struct fate *fate = &fates[n];
        if (!fate->seen) {
            continue;
        }
        sums_r->clean += !fate->infected;
        sums_r->infected += fate->infected;
        if (probe_end_is_final(fate->end)) {
            sum_final(log, fate, sums_r);
        } else {
            sums_r->open++;
        }
    }
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "caches.h"

void
caches_init(struct caches *caches, const struct settings *settings)
{
    /* A worker that was taken over lives no longer than its age; what it said does not either. */
    gint64 age_us = (gint64)settings->worker_age * G_USEC_PER_SEC;
    caches->verdicts = verdict_cache_new(settings->verdict_cache, age_us);
    caches->parts = part_cache_new(settings->part_cache, age_us);
    caches->era = NULL;
}

void
caches_clear(struct caches *caches)
{
    g_clear_pointer(&caches->verdicts, verdict_cache_free);
    g_clear_pointer(&caches->parts, part_cache_free);
    g_clear_pointer(&caches->era, g_free);
}

void
caches_engine_changed(struct caches *caches, json_t *state)
{
    const char *generation = json_string_value(json_object_get(state, "generation"));
    json_int_t restarts = json_integer_value(json_object_get(state, "restarts"));
    char *era = state == NULL ? NULL
                              : g_strdup_printf("%" JSON_INTEGER_FORMAT " %s", restarts,
                                                generation != NULL ? generation : "");
    if (g_strcmp0(era, caches->era) != 0) {
        verdict_cache_clear(caches->verdicts);
        part_cache_clear(caches->parts);
    }
    g_free(caches->era);
    caches->era = era;
}

static bool
is_current(const struct caches *caches, const struct voice *voice)
{
    return voice->era != NULL && g_strcmp0(voice->era, caches->era) == 0;
}

json_t *
caches_answer(struct caches *caches, struct voice *voice, json_t *question)
{
    return is_current(caches, voice)
               ? part_talk_answer(&voice->talk, caches->parts, question, g_get_monotonic_time())
               : json_pack("{s:b}", "known", 0);
}

void
caches_remember(struct caches *caches, const struct voice *voice, const guint8 *key,
                const struct facts *facts, json_t *report)
{
    gint64 now = g_get_monotonic_time();
    if (!is_current(caches, voice)) {
        return;
    }
    part_talk_report(&voice->talk, caches->parts, voice->worker, facts, report, now);
    if (key != NULL) {
        verdict_cache_put(caches->verdicts, key, voice->worker, facts, now);
    }
}

void
caches_distrust(struct caches *caches, gint64 worker)
{
    verdict_cache_forget(caches->verdicts, worker);
    part_cache_forget(caches->parts, worker);
}

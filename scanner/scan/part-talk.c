/* SPDX-License-Identifier: GPL-2.0-only */
#include "part-talk.h"

#include <stdlib.h>
#include <string.h>

#define INSIDE_FLAGS (JSON_COMPACT | JSON_SORT_KEYS)

/* Returns false when TEXT is not 64 hexadecimal digits. */
static bool
key_parse(const char *text, guint8 ret[LRU_KEY])
{
    if (text == NULL || strlen(text) != 2 * LRU_KEY) {
        return false;
    }
    for (guint i = 0; i < LRU_KEY; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]);
        int low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret[i] = (guint8)(high << 4 | low);
    }
    return true;
}

void
part_talk_begin(struct part_talk *talk)
{
    talk->asked = 0;
    talk->n_unknown = 0;
}

json_t *
part_talk_answer(struct part_talk *talk, struct part_cache *cache, json_t *question, gint64 now_us)
{
    guint8 key[LRU_KEY];
    if (talk->asked >= PART_CACHE_ASKS_MAX ||
        !key_parse(json_string_value(json_object_get(question, "key")), key)) {
        return NULL;
    }
    talk->asked++;
    const char *inside = part_cache_get(cache, key, now_us);
    if (inside == NULL) {
        memcpy(talk->unknown[talk->n_unknown++], key, LRU_KEY);
        return json_pack("{s:b}", "known", 0);
    }
    return json_pack("{s:b, s:o}", "known", 1, "facts", json_loads(inside, 0, NULL));
}

static bool
was_asked(const struct part_talk *talk, const guint8 key[LRU_KEY])
{
    for (guint i = 0; i < talk->n_unknown; i++) {
        if (memcmp(talk->unknown[i], key, LRU_KEY) == 0) {
            return true;
        }
    }
    return false;
}

/* In posternd's own words, so that two workers' sayings can be compared; NULL when it is no
 * description of something clean. */
static char *
inside_text(json_t *json)
{
    g_autoptr(facts_t) inside = facts_from_json(json);
    if (inside == NULL || facts_verdict(inside) != VERDICT_CLEAN) {
        return NULL;
    }
    inside->scan_us = 0;
    json_auto_t *own = facts_to_json(inside);
    return json_dumps(own, INSIDE_FLAGS);
}

void
part_talk_report(const struct part_talk *talk, struct part_cache *cache, gint64 worker,
                 const struct facts *facts, json_t *report, gint64 now_us)
{
    const char *text;
    json_t *json;
    if (facts_verdict(facts) != VERDICT_CLEAN) {
        return;
    }
    json_object_foreach(report, text, json)
    {
        guint8 key[LRU_KEY];
        char *inside = key_parse(text, key) && was_asked(talk, key) ? inside_text(json) : NULL;
        if (inside != NULL) {
            part_cache_report(cache, key, worker, inside, now_us);
        }
        free(inside);
    }
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "answer.h"

bool
answer_decode(json_t *json, gint64 id, struct answer *ret)
{
    json_int_t got;
    json_t *facts;
    int retire;
    struct answer answer = {0};
    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:I, s:o, s:b, s?o}", "id", &got, "facts", &facts,
                       "retire", &retire, "parts", &answer.parts) < 0 ||
        got != id) {
        return false;
    }
    answer.retire = retire;
    answer.facts = facts_from_json(facts);
    *ret = answer;
    return answer.facts != NULL;
}

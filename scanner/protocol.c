/* SPDX-License-Identifier: GPL-2.0-only */
#include "protocol.h"

#define KEY "protocol"

void
protocol_say(json_t *object)
{
    json_object_set_new(object, KEY, json_pack("[i, i]", PROTOCOL_OLDEST, PROTOCOL_NEWEST));
}

int
protocol_common(const json_t *object, const char *who, char **error_r)
{
    json_t *said = json_object_get(object, KEY);
    json_int_t oldest = 1;
    json_int_t newest = 1;
    if (said != NULL && json_unpack(said, "[I, I!]", &oldest, &newest) < 0) {
        *error_r = g_strdup_printf("%s says no version of its protocol that is one", who);
        return 0;
    }
    if (newest >= PROTOCOL_OLDEST && oldest <= PROTOCOL_NEWEST && oldest <= newest) {
        return (int)MIN(newest, PROTOCOL_NEWEST);
    }
    *error_r = g_strdup_printf(
        "%s is of another version (it speaks the protocols %" JSON_INTEGER_FORMAT
        " to %" JSON_INTEGER_FORMAT ", this program %d to %d); restart it, or the node's Postern",
        who, oldest, newest, PROTOCOL_OLDEST, PROTOCOL_NEWEST);
    return 0;
}

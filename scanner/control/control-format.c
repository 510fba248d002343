/* SPDX-License-Identifier: GPL-2.0-only */
/* The format of the state, raised when all nodes know it. */
#include "control-client.h"

#include "control-query.h"
#include "format.h"
#include "log.h"

static int
raise_work(struct state *state, struct query *query)
{
    int wanted = (int)json_integer_value(json_object_get(query->request, "format"));
    query->before = state_format(state);
    return state_raise(state, wanted, query->uid);
}

static json_t *
raise_answer(struct query *query)
{
    int format = storage_format(control_client_services(query->client)->storage);
    if (format != query->before) {
        log_notice("control: user %" G_GINT64_FORMAT
                   " has raised the state's format from %d to %d: "
                   "an older Postern cannot take it over any more",
                   query->uid, (int)query->before, format);
    }
    return json_pack("{s:b, s:i, s:i}", "ok", 1, "format", format, "was", (int)query->before);
}

void
control_finish_upgrade(struct control_client *client, json_t *request, int fd)
{
    json_int_t format = json_integer_value(json_object_get(request, "format"));
    (void)fd;
    if (format < FORMAT_OLDEST || format > G_MAXINT) {
        control_client_refuse(client, "finish-upgrade needs a format");
        return;
    }
    query_run(query_new(client, request, raise_work, raise_answer), FALSE);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "control-client.h"

#include <unistd.h>

#include "format.h"

static json_t *
counters_to_json(const struct counters *c)
{
    const struct {
        const char *name;
        guint64 value;
    } all[] = {
        {"messages", c->messages},     {"clean", c->clean},
        {"infected", c->infected},     {"unscanned", c->unscanned},
        {"errors", c->errors},         {"accepted", c->accepted},
        {"tagged", c->tagged},         {"replaced", c->replaced},
        {"discarded", c->discarded},   {"quarantined", c->quarantined},
        {"rejected", c->rejected},     {"tempfailed", c->tempfailed},
        {"end_to_end", c->end_to_end}, {"emptied", c->emptied},
        {"struck", c->struck},         {"poisoned", c->poisoned},
        {"abandoned", c->abandoned},   {"connections", c->connections},
        {"refused", c->refused},
    };
    json_t *json = json_object();
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        json_object_set_new(json, all[i].name, json_integer((json_int_t)all[i].value));
    }
    return json;
}

static json_t *
milter_of(const struct control_services *services)
{
    json_t *listeners = services->milter_status(services->milter_data);
    return listeners == NULL ? json_array() : listeners;
}

static json_t *
clamd_of(const struct control_services *services)
{
    json_t *status =
        services->clamd_status == NULL ? NULL : services->clamd_status(services->milter_data);
    return status == NULL ? json_null() : status;
}

void
control_status(struct control_client *client, json_t *request, int fd)
{
    static const char *const droppable[] = {"clamd", "milter", "pool", NULL};
    const struct control_services *services = control_client_services(client);
    const struct spool_budget *budget = services->budget;
    (void)request;
    (void)fd;
    json_t *answer = json_pack(
        "{s:b, s:s, s:i, s:I, s:b, s:I, s:s, s:i, s:[i, i], s:o, s:o, s:o, s:o, s:o, s:{s:I, s:I}}",
        "ok", 1, "version", PACKAGE_VERSION, "pid", (int)getpid(), "since",
        (json_int_t)control_client_since(client), "ready", pool_ready(services->pool), "epoch",
        (json_int_t)storage_epoch(services->storage), "state_dir",
        control_client_settings(client)->state_dir, "state_format",
        storage_format(services->storage), "state_formats", FORMAT_OLDEST, FORMAT_NEWEST,
        "counters", counters_to_json(services->counters), "pool", pool_status(services->pool),
        "milter", milter_of(services), "health",
        health_to_json(service_health_now(services->health)), "clamd", clamd_of(services), "spool",
        "used", (json_int_t)budget->used, "limit", (json_int_t)budget->limit);
    if (answer == NULL || !control_fit(answer, droppable)) {
        json_decref(answer);
        control_client_refuse(client, "the status cannot be written");
        return;
    }
    control_client_answer(client, answer, -1, NULL);
}

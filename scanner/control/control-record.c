/* SPDX-License-Identifier: GPL-2.0-only */
/* What happened: incidents, and the counters per hour and address. */
#include "control-client.h"

#include <stdint.h>
#include <time.h>

#include "control-query.h"
#include "incident.h"
#include "tally.h"
#include "text.h"

#define HOUR 3600
#define NAMES_MAX 200
#define HOURS_MAX TALLY_SUM_HOURS

static int
incidents_work(struct state *state, struct query *query)
{
    const struct incident_filter filter = {
        .since = query->filter.since,
        .before = query->before,
        .kind = json_string_value(json_object_get(query->request, "kind")),
        .key = query->key,
        .limit = query->limit};
    int rc = incident_list(state_db(state), &filter, &query->result);
    size_t n = json_array_size(query->result);
    const json_t *last = n == 0 ? NULL : json_array_get(query->result, n - 1);
    query->next = n < (size_t)query->limit ? 0 : json_integer_value(json_object_get(last, "row"));
    return rc;
}

void
control_incidents(struct control_client *client, json_t *request, int fd)
{
    json_int_t since = 0;
    json_int_t before = 0;
    json_int_t limit = 0;
    const char *kind = NULL;
    const char *key = NULL;
    enum incident_kind known;
    (void)fd;
    if (json_unpack(request, "{s?I, s?I, s?I, s?s, s?s}", "since", &since, "before", &before,
                    "limit", &limit, "kind", &kind, "key", &key) < 0 ||
        limit < 0) {
        control_client_refuse(client, "incidents: a filter is of the wrong type");
        return;
    }
    if (kind != NULL && !incident_kind_parse(kind, &known)) {
        const char *names[INCIDENT_KINDS + 1] = {NULL};
        for (int i = 0; i < INCIDENT_KINDS; i++) {
            names[i] = incident_kind_name((enum incident_kind)i);
        }
        g_autofree char *shown = text_escape(kind, 40);
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)names);
        control_client_refuse(client, "no incidents are called \"%s\"; there are %s", shown, all);
        return;
    }
    struct query *query = query_new(client, request, incidents_work, query_rows);
    query->filter.since = since;
    query_list(query, before, limit);
}

static int
counters_work(struct state *state, struct query *query)
{
    gint64 hours = json_integer_value(json_object_get(query->request, "hours"));
    enum tally_by by = TALLY_HOUR;
    (void)tally_by_parse(json_string_value(json_object_get(query->request, "by")), &by);
    return tally_list(state_db(state), by, (gint64)time(NULL) / HOUR - hours + 1,
                      by == TALLY_HOUR ? (int)hours : query->limit, &query->result);
}

static json_t *
counters_answer(struct query *query)
{
    return json_pack("{s:b, s:O}", "ok", 1, "rows", query->result);
}

void
control_counters(struct control_client *client, json_t *request, int fd)
{
    json_int_t hours = 0;
    json_int_t limit = NAMES_MAX;
    const char *by = NULL;
    enum tally_by known;
    (void)fd;
    if (json_unpack(request, "{s:I, s:s, s?I}", "hours", &hours, "by", &by, "limit", &limit) < 0 ||
        hours < 1 || hours > HOURS_MAX || limit < 1 || !tally_by_parse(by, &known)) {
        control_client_refuse(client,
                              "counters need \"hours\" (1 to %d) and \"by\": hour, sender, "
                              "recipient or client",
                              HOURS_MAX);
        return;
    }
    struct query *query = query_new(client, request, counters_work, counters_answer);
    query->limit = (int)MIN(limit, NAMES_MAX);
    query_run(query, TRUE);
}

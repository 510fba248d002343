/* SPDX-License-Identifier: GPL-2.0-only */
#include "control-client.h"

#include "control-query.h"
#include "log.h"
#include "releaser.h"
#include "retention.h"

static int
list_work(struct state *state, struct query *query)
{
    return quarantine_list(state, &query->filter, query->before, query->limit, &query->result,
                           &query->next);
}

void
control_quarantine_list(struct control_client *client, json_t *request, int fd)
{
    struct query *query = query_new(client, request, list_work, query_rows);
    struct listing_filter *f = &query->filter;
    json_int_t since = 0;
    json_int_t until = 0;
    json_int_t before = 0;
    json_int_t limit = 0;
    (void)fd;
    if (json_unpack(request, "{s?I, s?I, s?I, s?I, s?s, s?s, s?s, s?s, s?s, s?s}", "since", &since,
                    "until", &until, "before", &before, "limit", &limit, "sender", &f->sender,
                    "recipient", &f->recipient, "reason", &f->reason, "subject", &f->subject,
                    "verdict", &f->verdict, "state", &f->state) < 0 ||
        limit < 0) {
        query_free(query);
        control_client_refuse(client, "quarantine-list: a filter is of the wrong type");
        return;
    }
    f->since = since;
    f->until = until;
    query_list(query, before, limit);
}

static int
usage_work(struct state *state, struct query *query)
{
    return quarantine_usage(state, &query->result);
}

static json_t *
usage_answer(struct query *query)
{
    json_object_set_new(query->result, "ok", json_true());
    return json_incref(query->result);
}

void
control_quarantine_usage(struct control_client *client, json_t *request, int fd)
{
    (void)fd;
    query_run(query_new(client, request, usage_work, usage_answer), FALSE);
}

/* Returns FALSE after a refusal. */
static gboolean
key_check(struct control_client *client, const json_t *request)
{
    if (json_is_string(json_object_get(request, "key"))) {
        return TRUE;
    }
    control_client_refuse(client, "%s needs a key",
                          json_string_value(json_object_get(request, "op")));
    return FALSE;
}

static int
show_work(struct state *state, struct query *query)
{
    gboolean content = json_is_true(json_object_get(query->request, "content"));
    return quarantine_show(state, query->key, query->uid, &query->result,
                           content ? &query->fd : NULL);
}

static void
log_access(const struct query *query, const char *what, const char *key)
{
    log_notice("control: user %" G_GINT64_FORMAT " %s %s", query->uid, what, key);
}

static json_t *
show_answer(struct query *query)
{
    static const char *const droppable[] = {"meta/facts/parts", "meta/facts",
                                            "meta/release_to",  "meta/envelope/recipients",
                                            "meta/envelope",    NULL};
    json_t *answer = json_pack("{s:b, s:O}", "ok", 1, "meta", query->result);
    log_access(query, query->fd >= 0 ? "was given" : "looked at",
               json_string_value(json_object_get(query->result, "key")));
    (void)control_fit(answer, droppable);
    return answer;
}

void
control_quarantine_show(struct control_client *client, json_t *request, int fd)
{
    (void)fd;
    if (key_check(client, request)) {
        query_run(query_new(client, request, show_work, show_answer), FALSE);
    }
}

static int
delete_work(struct state *state, struct query *query)
{
    return retention_delete(state, query->key, query->uid, &query->found);
}

static json_t *
delete_answer(struct query *query)
{
    log_access(query, "deleted", query->found);
    return json_pack("{s:b, s:s, s:s}", "ok", 1, "key", query->found, "done", "deleted");
}

void
control_quarantine_delete(struct control_client *client, json_t *request, int fd)
{
    (void)fd;
    if (key_check(client, request)) {
        query_run(query_new(client, request, delete_work, delete_answer), FALSE);
    }
}

static void
on_released(void *data, const struct releaser_result *result)
{
    static const char *const words[] = {[SMTP_ACCEPTED] = "released",
                                        [SMTP_REFUSED] = "refused",
                                        [SMTP_LATER] = "failed",
                                        [SMTP_UNCERTAIN] = "uncertain"};
    struct control_client *client = data;
    control_client_set_work(client, NULL, NULL);
    if (result->error < 0) {
        query_refuse(client, result->error);
        return;
    }
    json_t *answer = json_pack("{s:b, s:s, s:s, s:s, s:I, s:b}", "ok", 1, "key", result->key,
                               "done", words[result->outcome], "answer", result->answer, "attempt",
                               (json_int_t)result->attempt, "recorded", result->recorded);
    control_client_answer(client, answer, -1, NULL);
}

static void
release_cancel(void *work)
{
    releaser_forget(work);
}

/* Returns the texts of ARRAY (g_free), NULL when it is no list of texts, or empty. */
static const char **
texts_of(const json_t *array)
{
    size_t n = json_array_size(array);
    const char **texts = g_new0(const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        texts[i] = json_string_value(json_array_get(array, i));
        if (texts[i] == NULL || *texts[i] == '\0') {
            g_free(texts);
            return NULL;
        }
    }
    if (n == 0) {
        g_free(texts);
        return NULL;
    }
    return texts;
}

void
control_quarantine_release(struct control_client *client, json_t *request, int fd)
{
    const json_t *to = json_object_get(request, "to");
    g_autofree const char **texts = texts_of(to);
    (void)fd;
    if (!key_check(client, request)) {
        return;
    }
    if (to != NULL && texts == NULL) {
        control_client_refuse(client, "quarantine-release: \"to\" is no list of addresses");
        return;
    }
    struct releaser_request *work = releaser_submit(
        control_client_services(client)->releaser,
        json_string_value(json_object_get(request, "key")), (char **)(uintptr_t)texts,
        control_client_peer(client)->uid, on_released, client);
    control_client_set_work(client, work, release_cancel);
}

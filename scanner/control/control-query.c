/* SPDX-License-Identifier: GPL-2.0-only */
#include "control-query.h"

#include <errno.h>
#include <unistd.h>

#include "packet.h"

struct query *
query_new(struct control_client *client, json_t *request, query_work *work, query_answer *answer)
{
    struct query *query = g_new0(struct query, 1);
    query->client = client;
    query->work = work;
    query->answer = answer;
    query->request = json_incref(request);
    query->key = json_string_value(json_object_get(request, "key"));
    query->uid = control_client_peer(client)->uid;
    query->fd = -1;
    return query;
}

void
query_free(struct query *query)
{
    json_decref(query->result);
    json_decref(query->request);
    if (query->fd >= 0) {
        close(query->fd);
    }
    g_free(query->found);
    g_free(query);
}

/* While the storage thread has the query, it may only be marked. */
static void
query_orphan(void *data)
{
    struct query *query = data;
    query->client = NULL;
}

static void
query_drop(void *data)
{
    query_free(data);
}

void
query_refuse(struct control_client *client, int error)
{
    static const struct {
        int error;
        const char *text;
    } sentences[] = {
        {-ENOENT, "no such entry in the quarantine"},
        {-ENOTUNIQ, "more than one entry begins so; give more of the key"},
        {-ENODATA, "the entry's file is gone from state_dir: put it back from a backup, or delete "
                   "the entry"},
        {-EBADMSG, "the entry's file is damaged; look at quarantine/KEY.eml in state_dir"},
        {-EBUSY, "the entry is being released; wait for the end of that"},
        {-EALREADY, "somebody has released the entry meanwhile; when it is to be delivered once "
                    "more, release it again"},
        {-ENOSPC, "the state is full, so this cannot be recorded; make room in state_dir"},
        {-EDQUOT, "the state is full, so this cannot be recorded; make room in state_dir"},
        {-EOPNOTSUPP, "this posternd does not know that format: restart it in the newer version"},
        {-ECANCELED, "posternd is stopping"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(sentences); i++) {
        if (sentences[i].error == error) {
            control_client_refuse(client, "%s", sentences[i].text);
            return;
        }
    }
    control_client_refuse(client, "the state could not be used: %s", g_strerror(-error));
}

static int
on_work(struct state *state, void *data)
{
    struct query *query = data;
    return query->work(state, query);
}

/* Moves to an array what fits into a packet, and at least one row; NEXT follows. */
static json_t *
rows_take(struct query *query)
{
    json_t *fit = json_array();
    size_t size = 0;
    size_t i;
    json_t *row;
    json_array_foreach(query->result, i, row)
    {
        size += json_dumpb(row, NULL, 0, JSON_COMPACT) + 1;
        if (i > 0 && size > PACKET_MAX - 1024) {
            const json_t *last = json_array_get(query->result, i - 1);
            query->next = json_integer_value(json_object_get(last, "row"));
            break;
        }
        json_array_append(fit, row);
    }
    return fit;
}

json_t *
query_rows(struct query *query)
{
    json_t *rows = rows_take(query);
    gint64 n = (gint64)json_array_size(rows);
    json_t *answer = json_pack("{s:b, s:o}", "ok", 1, "rows", rows);
    if (query->wanted > 0 && n >= query->wanted) {
        json_object_set_new(answer, "next", json_integer((json_int_t)query->next));
        query->next = 0;
    } else if (query->wanted > 0) {
        query->wanted -= n;
        query->limit = (int)MIN(query->wanted, QUERY_BATCH);
    }
    json_object_set_new(answer, "more", json_boolean(query->next != 0));
    return answer;
}

static void on_done(void *data, int result);

static void
submit(struct query *query)
{
    struct storage *storage = control_client_services(query->client)->storage;
    control_client_set_work(query->client, query, query_orphan);
    if (query->background) {
        storage_submit_background(storage, on_work, on_done, query);
    } else {
        storage_submit(storage, on_work, on_done, query);
    }
}

static void
go_on(struct control_client *client, void *data)
{
    struct query *query = data;
    query->client = client;
    submit(query);
}

static void
answer_send(struct control_client *client, struct query *query)
{
    json_t *answer = query->answer(query);
    int fd = query->fd;
    query->fd = -1;
    if (query->next != 0) {
        query->before = query->next;
        json_decref(g_steal_pointer(&query->result));
        control_client_set_work(client, query, query_drop);
        control_client_answer(client, answer, fd, go_on);
    } else {
        query_free(query);
        control_client_answer(client, answer, fd, NULL);
    }
}

static void
on_done(void *data, int result)
{
    struct query *query = data;
    struct control_client *client = query->client;
    if (client == NULL) {
        query_free(query);
        return;
    }
    control_client_set_work(client, NULL, NULL);
    if (result < 0) {
        query_free(query);
        query_refuse(client, result);
    } else {
        answer_send(client, query);
    }
}

void
query_run(struct query *query, gboolean background)
{
    query->background = background;
    submit(query);
}

void
query_list(struct query *query, gint64 before, gint64 wanted)
{
    query->before = before;
    query->wanted = wanted;
    query->limit = (int)(wanted == 0 ? QUERY_BATCH : MIN(wanted, QUERY_BATCH));
    query_run(query, TRUE);
}

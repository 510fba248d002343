/* SPDX-License-Identifier: GPL-2.0-only */
#include "control-client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "quarantine.h"
#include "text.h"

#define LIST_BATCH 100

/* A question to the state; the client may be gone before the storage thread has the answer. */
struct query {
    struct control_client *client; /* NULL: gone */
    gint64 before;
    char *key;
    json_t *result;
    int fd;
};

static struct query *
query_new(struct control_client *client)
{
    struct query *query = g_new0(struct query, 1);
    query->client = client;
    query->fd = -1;
    return query;
}

static void
query_free(struct query *query)
{
    json_decref(query->result);
    if (query->fd >= 0) {
        close(query->fd);
    }
    g_free(query->key);
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

/* Returns the client that waits for QUERY, or NULL when it is gone; then QUERY is freed. */
static struct control_client *
query_client(struct query *query)
{
    struct control_client *client = query->client;
    if (client == NULL) {
        query_free(query);
        return NULL;
    }
    control_client_set_work(client, NULL, NULL);
    return client;
}

static void
refuse_errno(struct control_client *client, int error)
{
    static const struct {
        int error;
        const char *text;
    } sentences[] = {
        {-ENOENT, "no such entry in the quarantine"},
        {-ENOTUNIQ, "more than one entry begins so; give more of the key"},
        {-ENODATA, "the entry's file is gone from state_dir; look into the log"},
        {-EBADMSG, "the entry's file is damaged; look at it in state_dir"},
        {-ECANCELED, "posternd is stopping"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(sentences); i++) {
        if (sentences[i].error == error) {
            control_client_refuse(client, "%s", sentences[i].text);
            return;
        }
    }
    control_client_refuse(client, "the state could not be read: %s", g_strerror(-error));
}

static int
list_work(struct state *state, void *data)
{
    struct query *query = data;
    return quarantine_list(state, query->before, LIST_BATCH, &query->result);
}

/* The first rows of ROWS that fit into one packet, a new reference; at least one. */
static json_t *
rows_fit(json_t *rows)
{
    json_t *fit = json_array();
    size_t size = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        size += json_dumpb(row, NULL, 0, JSON_COMPACT) + 1;
        if (i > 0 && size > PACKET_MAX - 1024) {
            break;
        }
        json_array_append(fit, row);
    }
    return fit;
}

static void list_next(struct control_client *client, void *data);

static void
list_done(void *data, int result)
{
    struct query *query = data;
    struct control_client *client = query_client(query);
    if (client == NULL) {
        return;
    }
    if (result < 0) {
        query_free(query);
        refuse_errno(client, result);
        return;
    }
    json_t *rows = rows_fit(query->result);
    size_t n = json_array_size(rows);
    gboolean more = n < json_array_size(query->result) || n == LIST_BATCH;
    json_t *last = n > 0 ? json_array_get(rows, n - 1) : NULL;
    query->before = json_integer_value(json_object_get(last, "row"));
    json_t *answer = json_pack("{s:b, s:o, s:b}", "ok", 1, "rows", rows, "more", more);
    if (more) {
        json_decref(g_steal_pointer(&query->result));
        control_client_set_work(client, query, query_drop);
        control_client_answer(client, answer, -1, list_next);
    } else {
        query_free(query);
        control_client_answer(client, answer, -1, NULL);
    }
}

static void
list_next(struct control_client *client, void *data)
{
    struct query *query = data;
    control_client_set_work(client, query, query_orphan);
    storage_submit(control_client_services(client)->storage, list_work, list_done, query);
}

void
control_quarantine_list(struct control_client *client, json_t *request, int fd)
{
    (void)request;
    (void)fd;
    list_next(client, query_new(client));
}

static int
show_work(struct state *state, void *data)
{
    struct query *query = data;
    return quarantine_show(state, query->key, &query->result, &query->fd);
}

static void
show_done(void *data, int result)
{
    static const char *const droppable[] = {"meta/facts/parts", "meta/facts",
                                            "meta/envelope/recipients", "meta/envelope", NULL};
    struct query *query = data;
    struct control_client *client = query_client(query);
    if (client == NULL) {
        return;
    }
    if (result < 0) {
        query_free(query);
        refuse_errno(client, result);
        return;
    }
    const struct packet_peer *peer = control_client_peer(client);
    g_autofree char *key =
        text_escape(json_string_value(json_object_get(query->result, "key")), 64);
    log_notice("control: process %d of user %u was given %s from the quarantine", peer->pid,
               peer->uid, key);
    json_t *answer = json_pack("{s:b, s:O}", "ok", 1, "meta", query->result);
    int fd = query->fd;
    query->fd = -1;
    query_free(query);
    (void)control_fit(answer, droppable);
    control_client_answer(client, answer, fd, NULL);
}

void
control_quarantine_show(struct control_client *client, json_t *request, int fd)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    (void)fd;
    if (key == NULL) {
        control_client_refuse(client, "quarantine-show needs a key");
        return;
    }
    struct query *query = query_new(client);
    query->key = g_strdup(key);
    control_client_set_work(client, query, query_orphan);
    storage_submit(control_client_services(client)->storage, show_work, show_done, query);
}

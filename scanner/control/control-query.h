/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CONTROL_QUERY_H
#define CONTROL_QUERY_H

/*
 * A question to the state on behalf of a client, who may be gone before the storage thread has the
 * answer. WORK runs there; ANSWER runs in the event loop, only after a success and for a client
 * who is still there, and returns the packet, which leaves with FD. While NEXT is not 0 then, WORK
 * is called again for another packet.
 */

#include "control-client.h"
#include "listing.h"
#include "quarantine.h"

/* Rows of a list that are read at once. */
#define QUERY_BATCH 100

struct query;

typedef int query_work(struct state *state, struct query *query);
typedef json_t *query_answer(struct query *query);

struct query {
    struct control_client *client; /* NULL: gone */
    query_work *work;
    query_answer *answer;
    json_t *request; /* KEY and the texts of FILTER are its */
    const char *key;
    gint64 uid; /* who asks */
    gboolean background;
    struct listing_filter filter;
    gint64 before;
    gint64 wanted; /* rows that the client wants still; 0 = all */
    int limit;     /* rows that WORK may bring */
    json_t *result;
    gint64 next; /* of a list: where it goes on, 0 = it ends */
    char *found; /* a whole key */
    int fd;
};

/* REQUEST is borrowed. */
struct query *query_new(struct control_client *client, json_t *request, query_work *work,
                        query_answer *answer);
/* Begins. BACKGROUND: mail goes first. A failure is told to the client. */
void query_run(struct query *query, gboolean background);

/* Tells the client why an operation on an entry failed with ERROR (-errno). */
void query_refuse(struct control_client *client, int error);

/* Begins a list; WANTED as in the struct, not negative. */
void query_list(struct query *query, gint64 before, gint64 wanted);
void query_free(struct query *query);

/*
 * The ANSWER of lists: as many rows of RESULT as fit into a packet, {"ok":true,"rows":[...],
 * "more":b}, and where it ends for want of WANTED, "next":n to go on from. Each row has its number
 * in "row", and WORK begins below BEFORE.
 */
query_answer query_rows;

#endif

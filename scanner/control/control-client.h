/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

/*
 * One connection to the control socket, for the operations. A client asks one thing at a time: it
 * is not read while an operation works for it and until the answer has left.
 *
 * An operation is called with the request (borrowed) and a descriptor (now its own; -1 = none) and
 * ends with control_client_answer() or control_client_refuse(), at once or later. Until then
 * it may have set WORK with CANCEL, which is called when the client goes away first.
 */

#include <jansson.h>

#include "control.h"
#include "packet.h"

struct control_client;

typedef void control_cancel(void *work);
/* Goes on with an answer of several packets, once the one before has left. */
typedef void control_next(struct control_client *client, void *work);

const struct control_services *control_client_services(const struct control_client *client);
const struct settings *control_client_settings(const struct control_client *client);
const struct packet_peer *control_client_peer(const struct control_client *client);
/* Unix seconds of posternd's start. */
gint64 control_client_since(const struct control_client *client);

/* WORK is handed to CANCEL when the client goes away before the operation is over. */
void control_client_set_work(struct control_client *client, void *work, control_cancel *cancel);

/*
 * Sends ANSWER (taken over) with FD (taken over; -1 = none). With NEXT the operation is not over:
 * NEXT is called when the packet has left. Without, WORK is forgotten and the next request read.
 * The client may be gone when this returns.
 */
void control_client_answer(struct control_client *client, json_t *answer, int fd,
                           control_next *next);
/* Ends the operation with {"ok":false,"error":...}. */
void control_client_refuse(struct control_client *client, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * Makes ANSWER fit into a packet: while it is too large, the next of the NULL-terminated PATHS
 * ("meta/facts/parts") is taken out, and named in the array "left_out". Returns FALSE when it is
 * too large even so.
 */
gboolean control_fit(json_t *answer, const char *const paths[]);

/* The operations. */
typedef void control_operation(struct control_client *client, json_t *request, int fd);
control_operation control_status;
control_operation control_scan;
control_operation control_quarantine_list;
control_operation control_quarantine_usage;
control_operation control_quarantine_show;
control_operation control_quarantine_delete;
control_operation control_quarantine_release;
control_operation control_selftest;
control_operation control_incidents;
control_operation control_counters;
control_operation control_finish_upgrade;

#endif

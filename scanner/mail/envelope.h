/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ENVELOPE_H
#define ENVELOPE_H

/* What the MTA says about a message: sender, recipients, and where it came from. */

#include <glib.h>
#include <jansson.h>

enum direction {
    DIRECTION_INBOUND,    /* from outside, for us */
    DIRECTION_SUBMISSION, /* from a user or a program of ours */
};
/* "inbound", "submission"; as in JSON. */
const char *direction_name(enum direction direction);

struct envelope {
    char *queue_id;        /* the MTA's; NULL until the end of the message (Postfix) */
    char *sender;          /* without <>; "" is the null sender */
    GPtrArray *recipients; /* of char *, without <>, in the MTA's order */
    char *parameters;      /* of MAIL, as esmtp_add() made them; NULL = none */
    /* Of each RCPT; of char *, NULL = none. It may be shorter than RECIPIENTS. */
    GPtrArray *recipient_parameters;
    char *client_name; /* host name as the MTA says it; NULL = unknown */
    char *client_addr; /* "192.0.2.1", "IPv6:2001:db8::1", "unix"; NULL = unknown */
    char *helo;        /* NULL = none */
    char *auth_user;   /* SASL user; NULL = none */
    char *message_id;  /* from the header; NULL = none */
    char *subject;     /* from the header, raw; NULL = none */
    enum direction direction;
};

struct envelope *envelope_new(void);
void envelope_free(struct envelope *envelope);
typedef struct envelope envelope_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(envelope_t, envelope_free)

/* Adds a recipient (both texts are taken over). PARAMETERS: NULL = none. */
void envelope_add_recipient(struct envelope *envelope, char *recipient, char *parameters);
/* Of the recipient of that number; NULL = none. Borrowed. */
const char *envelope_recipient_parameters(const struct envelope *envelope, guint number);

/* As JSON, a new reference, without parameters; what is no UTF-8 is made so. */
json_t *envelope_to_json(const struct envelope *envelope);
/* Adds the parameters to that, where there are any. */
void envelope_parameters_to_json(const struct envelope *envelope, json_t *object);
/*
 * Back from JSON (a quarantine file). NULL when it is not an envelope. One without a direction
 * came in before there were directions, and is inbound.
 */
struct envelope *envelope_from_json(json_t *json);

#endif

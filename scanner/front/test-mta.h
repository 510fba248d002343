/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_MTA_H
#define TEST_MTA_H

/*
 * A milter session over a socket pair, for its tests: they are the MTA, and play the pool and the
 * transaction behind it.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "counters.h"
#include "milter-codec.h"
#include "milter-session.h"

#define NO_REPLIES 0x1fffff /* an MTA that offers everything */

struct mta {
    sd_event *event;
    int mta;
    struct milter_session *session; /* NULL once it has ended */
    struct settings settings;
    struct counters counters;
    struct spool_budget budget;
    struct transaction_services transaction;
    struct milter_services services;
    bool ready;
    bool submission; /* of the listener, at session_open() */
    /* The transaction that was begun. */
    int started;
    int abandoned;
    bool storing;
    struct envelope *envelope;
    struct spool *spool;
    struct spool *replacement;
    transaction_reply *reply;
    void *reply_data;
};
extern struct mta t;

int mta_setup(void **state);
int mta_teardown(void **state);
void session_open(void);
void run_until_ended(void);
void run(void);

void mta_send(char command, const void *data, gsize len);
void mta_read(void *bytes, gsize len);
void mta_expect(char command, const void *data, gsize len);
void mta_expect_nothing(void);
void mta_expect_closed(void);
void run_until_readable(void);
void negotiate(guint32 version, guint32 actions, guint32 protocol);
void connect_as_postfix(void);
void envelope_send(void);
void content_send(void);
void message_send(void);
void give_reply(enum action action, enum verdict verdict, const char *reply);
void check_content(const char *expected, gsize len);

/* A literal with its terminating NUL, which ends the last text. */
#define MTA_SEND(command, literal) mta_send(command, literal, sizeof literal)
#define MTA_SEND_EMPTY(command) mta_send(command, NULL, 0)
#define MTA_EXPECT(command, literal) mta_expect(command, literal, sizeof literal)
#define MTA_EXPECT_EMPTY(command) mta_expect(command, NULL, 0)

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
/* What is refused: too much, too early, lies, silence. */
#include "memory.h"
#include "milter-message.h"
#include "test-mta.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
test_too_many_foreign_headers(void **state)
{
    (void)state;
    connect_as_postfix();
    envelope_send();
    for (int i = 0; i < 101; i++) {
        MTA_SEND(SMFIC_HEADER, "X-Postern\0 clean");
    }
    MTA_SEND_EMPTY(SMFIC_EOH);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    MTA_EXPECT(SMFIR_REPLYCODE, "550 5.7.1 Too many X-Postern headers");
    assert_int_equal(t.started, 0);
}

static void
test_too_large(void **state)
{
    (void)state;
    t.settings.message_size = 5000;
    connect_as_postfix();
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0BODY=8BITMIME\0size=5001");
    MTA_EXPECT(SMFIR_REPLYCODE, "552 5.3.4 The message is too large to be scanned for viruses");

    envelope_send(); /* who says less than it sends is told at the end */
    MTA_SEND_EMPTY(SMFIC_EOH);
    char body[4999] = {0};
    mta_send(SMFIC_BODY, body, sizeof body);
    mta_expect_nothing();
    assert_int_equal(t.budget.used, MILTER_BUFFERS); /* the content is gone at once */
    mta_send(SMFIC_BODY, body, sizeof body);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    MTA_EXPECT(SMFIR_REPLYCODE, "552 5.3.4 The message is too large to be scanned for viruses");
    assert_int_equal(t.started, 0);
    assert_int_equal(t.counters.rejected, 2);
}

/* An MTA that waits for answers is told at once. */
static void
test_too_large_version_2(void **state)
{
    (void)state;
    t.settings.message_size = 5000;
    negotiate(2, 0x3f, 0x7f);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    char body[5000] = {0};
    mta_send(SMFIC_BODY, body, sizeof body);
    MTA_EXPECT(SMFIR_REPLYCODE, "552 5.3.4 The message is too large to be scanned for viruses");
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
}

#define BUSY "451 4.3.1 The virus scanner is busy, try again later"

/* What a message and its connection take before anything has come: sender, size, buffers. */
static guint64
taken_at_mail(guint64 size)
{
    return strlen("a@example.org") + size + MILTER_BUFFERS;
}

static void
leave(guint64 room)
{
    t.budget.used = t.budget.limit - room;
}

static void
test_budget_at_mail(void **state)
{
    (void)state;
    connect_as_postfix();
    leave(taken_at_mail(MILTER_SMALL_MESSAGE) - 1);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT(SMFIR_REPLYCODE, BUSY);
    leave(taken_at_mail(100000) - 1);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=100000");
    MTA_EXPECT(SMFIR_REPLYCODE, BUSY);
    assert_int_equal(t.budget.used, t.budget.limit - taken_at_mail(100000) + 1);
    leave(taken_at_mail(100000));
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=100000");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    assert_int_equal(t.budget.used, t.budget.limit); /* reserved: nobody else gets it */
    assert_int_equal(t.counters.refused, 2);
    MTA_SEND_EMPTY(SMFIC_ABORT);
    assert_int_equal(t.budget.used, t.budget.limit - taken_at_mail(100000));
    t.budget.used = 0;
}

/* Large mail leaves room for small mail, unless not even one large message would fit then. */
static void
test_budget_for_small_mail(void **state)
{
    (void)state;
    t.settings.message_size = 4000000;
    t.budget.limit = 10000000;
    connect_as_postfix();
    leave(2500000 + taken_at_mail(4000000) - 14);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=4000000");
    MTA_EXPECT(SMFIR_REPLYCODE, BUSY);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=1048576");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_ABORT);
    leave(2500000 + taken_at_mail(4000000));
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=4000000");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_ABORT);
    t.budget.limit = 4000000 + MEMORY_MESSAGE_OVERHEAD;
    t.budget.used = 0;
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=4000000");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_ABORT);
}

static void
test_budget_while_receiving(void **state)
{
    static char body[65535];
    (void)state;
    connect_as_postfix();
    leave(taken_at_mail(MILTER_SMALL_MESSAGE));
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_EOH); /* 2 bytes */
    mta_send(SMFIC_BODY, body, MILTER_SMALL_MESSAGE - 2);
    mta_send(SMFIC_BODY, "x", 1);
    mta_send(SMFIC_BODY, body, sizeof body);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    MTA_EXPECT(SMFIR_REPLYCODE, BUSY);
    assert_int_equal(t.started, 0);

    leave(taken_at_mail(MILTER_SMALL_MESSAGE)); /* and once more, one byte less */
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_EOH);
    mta_send(SMFIC_BODY, body, MILTER_SMALL_MESSAGE - 2);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    assert_int_equal(t.started, 1);
    assert_int_equal(t.budget.used, t.budget.limit - MILTER_BUFFERS); /* while it is scanned */
    t.budget.used = MILTER_SMALL_MESSAGE + strlen("a@example.org");
}

/* A recipient takes memory too; an answer to RCPT is for that one alone. */
static void
test_budget_recipients(void **state)
{
    (void)state;
    negotiate(2, 0x3f, 0x7f);
    leave(taken_at_mail(MILTER_SMALL_MESSAGE) + 100);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "<b@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "<c@example.org>");
    MTA_EXPECT(SMFIR_REPLYCODE, BUSY);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    assert_int_equal(t.envelope->recipients->len, 1);
    leave(0);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    g_clear_pointer(&t.spool, spool_free);
    t.budget.used = 0;
}

/* Half a packet is held in memory: beyond a little that is counted too. */
static void
test_budget_of_connections(void **state)
{
    static char packet[200000];
    (void)state;
    negotiate(6, 0x1ff, NO_REPLIES);
    memcpy(packet, "\0\17\377\377H", 5);
    leave(1048576);
    assert_int_equal(send(t.mta, packet, 3000, MSG_NOSIGNAL), 3000);
    run();
    assert_int_equal(t.budget.used, t.budget.limit - 1048576);
    assert_int_equal(send(t.mta, packet, 90000, MSG_NOSIGNAL), 90000);
    run();
    assert_int_equal(t.budget.used, t.budget.limit - 1048576 + 131072 - 4096);
    leave(90000);
    assert_int_equal(send(t.mta, packet, sizeof packet, MSG_NOSIGNAL), sizeof packet);
    mta_expect_closed();
    assert_int_equal(t.counters.refused, 1);
    assert_int_equal(t.budget.used, t.budget.limit - 90000 - 131072 + 4096);
    t.budget.used = 0;
}

static void
test_not_ready(void **state)
{
    (void)state;
    t.ready = false;
    connect_as_postfix();
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.7.1 The virus scanner is not ready, try again later");
    t.ready = true;
    message_send();
    assert_int_equal(t.started, 1);
}

static void
test_recipients_without_end(void **state)
{
    static char address[10000];
    (void)state;
    memset(address, 'a', sizeof address - 1);
    t.budget.limit = 4000000;
    connect_as_postfix();
    envelope_send();
    for (int i = 0; i < 250; i++) {
        mta_send(SMFIC_RCPT, address, sizeof address);
    }
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    MTA_EXPECT(SMFIR_REPLYCODE, "452 4.5.3 Too many recipients");
    assert_int_equal(t.started, 0);
}

/* Each is sent on a new connection that has got as far as a message, and must end it. */
static void
test_hostile(void **state)
{
    static const struct {
        const char *bytes;
        gsize len;
    } hostile[] = {
        {"\0\0\0\0", 4},                /* empty packet */
        {"\377\377\377\377", 4},        /* 4 GB */
        {"\0\0\0\1z", 5},               /* no such command */
        {"\0\0\0\15O123456781234", 17}, /* negotiates again */
        {"\0\0\0\4Mab\0", 8},           /* MAIL in a message */
        {"\0\0\0\3Rab", 7},             /* recipient not terminated */
        {"\0\0\0\1R", 5},               /* none */
        {"\0\0\0\3La\0", 7},            /* header without value */
        {"\0\0\0\3L\0\0", 7},           /* header without name */
        {"\0\0\0\1D", 5},               /* macros of nothing */
        {"\0\0\0\4DEi\0", 8},           /* macro without value */
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        connect_as_postfix();
        envelope_send();
        assert_int_equal(write(t.mta, hostile[i].bytes, hostile[i].len), (ssize_t)hostile[i].len);
        mta_expect_closed();
        close(t.mta);
        session_open();
    }
    assert_int_equal(t.started, 0);
}

static void
test_hostile_start(void **state)
{
    (void)state;
    assert_int_equal(write(t.mta, "\0\0\0\4Mab\0", 8), 8); /* before the negotiation */
    mta_expect_closed();
    close(t.mta);
    session_open();
    assert_int_equal(write(t.mta, "\0\0\0\15O\0\0\0\1\0\0\0\77\0\0\0\177", 17), 17); /* version 1 */
    mta_expect_closed();
    close(t.mta);
    session_open();
    assert_int_equal(write(t.mta, "EHLO example.org\r\n", 18), 18);
    mta_expect_closed();
    close(t.mta);
    session_open();
    connect_as_postfix();
    message_send();
    MTA_SEND(SMFIC_HELO, "cannot wait"); /* while it has to wait for the reply */
    mta_expect_closed();
    assert_int_equal(t.abandoned, 1);
}

/* It asks and never reads the answers: it is not read from any more, nor is memory used up. */
static void
test_peer_does_not_read(void **state)
{
    static char packets[5 * 13000];
    gsize sent = 0;
    int stuck = 0;
    (void)state;
    for (gsize i = 0; i < sizeof packets; i += 5) {
        memcpy(packets + i, "\0\0\0\1U", 5);
    }
    negotiate(2, 0x3f, 0x7f); /* nothing agreed: each is answered */
    assert_int_equal(fcntl(t.mta, F_SETFL, O_NONBLOCK), 0);
    while (stuck < 100) {
        ssize_t n = write(t.mta, packets, sizeof packets);
        stuck = n > 0 ? 0 : stuck + 1;
        sent += n > 0 ? (gsize)n : 0;
        run();
    }
    assert_true(sent < 4 * 1048576);
    assert_non_null(t.session);
}

static void
test_idle(void **state)
{
    (void)state;
    milter_session_free(t.session);
    t.session = NULL;
    close(t.mta);
    t.settings.client_timeout = 1;
    session_open();
    negotiate(6, 0x1ff, NO_REPLIES);
    mta_expect_closed();
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, mta_setup, mta_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_too_many_foreign_headers),
        TEST(test_too_large),
        TEST(test_too_large_version_2),
        TEST(test_budget_at_mail),
        TEST(test_budget_for_small_mail),
        TEST(test_budget_while_receiving),
        TEST(test_budget_recipients),
        TEST(test_budget_of_connections),
        TEST(test_not_ready),
        TEST(test_recipients_without_end),
        TEST(test_hostile),
        TEST(test_hostile_start),
        TEST(test_peer_does_not_read),
        TEST(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

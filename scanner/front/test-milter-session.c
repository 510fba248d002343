/* SPDX-License-Identifier: GPL-2.0-only */
/* What an MTA says and hears. */
#include "test-mta.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
test_message(void **state)
{
    static const char whole[] = "Message-Id: <1@example.org>\r\nSubject:\ttwo\r\n\tlines \r\n\r\n"
                                "one\r\nt\0wo\r\n";
    (void)state;
    connect_as_postfix();
    message_send();
    mta_expect_nothing();
    assert_int_equal(t.started, 1);
    check_content(whole, sizeof whole - 1);
    assert_string_equal(t.envelope->queue_id, "4QID");
    assert_string_equal(t.envelope->sender, "a@example.org");
    assert_int_equal(t.envelope->recipients->len, 2);
    assert_string_equal(g_ptr_array_index(t.envelope->recipients, 1), "c@example.org");
    assert_string_equal(t.envelope->auth_user, "jo");
    assert_string_equal(t.envelope->client_name, "mail.example.org");
    assert_string_equal(t.envelope->client_addr, "192.0.2.1");
    assert_string_equal(t.envelope->helo, "mail.example.org");
    assert_string_equal(t.envelope->message_id, "<1@example.org>");
    assert_string_equal(t.envelope->subject, "two\n\tlines");
    g_autofree char *hash =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)"one\r\nt\0wo\r\n", 11);
    assert_string_equal(spool_body_hash(t.spool), hash);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
}

static void
check_direction(const char *connect, gsize len, const char *macros, gsize macros_len,
                enum direction expected)
{
    MTA_SEND_EMPTY(SMFIC_QUIT_NC);
    mta_send(SMFIC_CONNECT, connect, len);
    mta_send(SMFIC_MACRO, macros, macros_len);
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    assert_int_equal(t.envelope->direction, expected);
    give_reply(ACTION_TEMPFAIL, VERDICT_ERROR, "451 4.7.1 later");
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.7.1 later");
}

static void
test_direction(void **state)
{
    static const char outside[] = "x\0"
                                  "4\0\31"
                                  "192.0.2.1";
    static const char ours[] = "x\0"
                               "6\0\31"
                               "IPv6:2001:db8::1";
    static const char nobody[] = "M{auth_authen}\0";
    static char networks[][16] = {"loopback", "2001:db8::/32"};
    char *clients[] = {networks[0], networks[1], NULL};
    (void)state;
    t.settings.submission_clients = clients;
    negotiate(6, 0x1ff, NO_REPLIES);
#define CHECK(connect, macros, direction) \
    check_direction(connect, sizeof connect, macros, sizeof macros, direction)
    CHECK(outside, nobody, DIRECTION_INBOUND);
    CHECK(outside, "M{auth_authen}\0jo", DIRECTION_SUBMISSION);
    CHECK(outside, nobody, DIRECTION_INBOUND); /* the user is that of one message */
    CHECK(ours, nobody, DIRECTION_SUBMISSION);
    CHECK("localhost\0L\0\0/run/x", nobody, DIRECTION_SUBMISSION);
    CHECK("localhost\0U", nobody, DIRECTION_SUBMISSION);
    CHECK("unknown\0U", nobody, DIRECTION_INBOUND);
    close(t.mta);
    milter_session_free(t.session);
    t.submission = true;
    session_open();
    negotiate(6, 0x1ff, NO_REPLIES);
    CHECK(outside, nobody, DIRECTION_SUBMISSION);
#undef CHECK
}

static void
test_byte_by_byte(void **state)
{
    static const char bytes[] = "\0\0\0\15O\0\0\0\6\0\0\1\377\0\37\377\377"
                                "\0\0\0\4M<>"
                                "\0\0\0\0";
    char got[512];
    (void)state;
    for (gsize i = 0; i < 17 + 8; i++) {
        assert_int_equal(write(t.mta, bytes + i, 1), 1);
        run();
    }
    run_until_readable();
    ssize_t n = read(t.mta, got, sizeof got);
    assert_true(n > 22);
    assert_memory_equal(got + n - 5, "\0\0\0\1c", 5);
}

static void
test_foreign_headers(void **state)
{
    (void)state;
    connect_as_postfix();
    envelope_send();
    MTA_SEND(SMFIC_HEADER, "X-Postern\0 clean");
    MTA_SEND(SMFIC_HEADER, "X-Postern-Not\0 ours");
    MTA_SEND(SMFIC_HEADER, "x-POSTERN\0 clean");
    MTA_SEND_EMPTY(SMFIC_EOH);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_CHGHEADER, "\0\0\0\2X-Postern\0");
    MTA_EXPECT(SMFIR_CHGHEADER, "\0\0\0\1X-Postern\0");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
}

static void
test_several_messages(void **state)
{
    (void)state;
    connect_as_postfix();
    message_send();
    give_reply(ACTION_QUARANTINE, VERDICT_INFECTED, "550 5.7.1 virus found (100%)");
    MTA_EXPECT(SMFIR_REPLYCODE, "550 5.7.1 virus found (100%%)");
    MTA_SEND_EMPTY(SMFIC_ABORT); /* as Postfix does after each message */

    MTA_SEND(SMFIC_MACRO, "M{mail_addr}\0");
    MTA_SEND(SMFIC_MAIL, "<>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "d@example.org");
    mta_send(SMFIC_BODYEOB, "end", 3); /* neither header nor separator, body with the end */
    assert_int_equal(t.started, 2);
    check_content("\r\nend", 5);
    assert_null(t.envelope->queue_id); /* nothing is left of the first */
    assert_null(t.envelope->auth_user);
    assert_null(t.envelope->message_id);
    assert_string_equal(t.envelope->sender, "");
    assert_string_equal(t.envelope->client_addr, "192.0.2.1");
    give_reply(ACTION_TEMPFAIL, VERDICT_ERROR, "451 4.7.1 later");
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.7.1 later");

    MTA_SEND_EMPTY(SMFIC_QUIT_NC);
    MTA_SEND(SMFIC_CONNECT, "[unix]\0L\0\0/x");
    message_send();
    assert_string_equal(t.envelope->client_addr, "unix");
    assert_null(t.envelope->client_name);
    assert_null(t.envelope->helo);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
    MTA_SEND_EMPTY(SMFIC_QUIT);
    mta_expect_closed();
    assert_int_equal(t.abandoned, 0);
}

static void
test_abort(void **state)
{
    (void)state;
    connect_as_postfix();
    envelope_send();
    MTA_SEND(SMFIC_HEADER, "Subject\0 gone");
    MTA_SEND_EMPTY(SMFIC_ABORT);
    assert_int_equal(t.budget.used, 0);
    message_send();
    assert_string_equal(t.envelope->subject, "two\n\tlines");
    MTA_SEND_EMPTY(SMFIC_ABORT);
    assert_int_equal(t.abandoned, 1);
    message_send();
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
}

static void
test_client_goes_while_scanning(void **state)
{
    (void)state;
    connect_as_postfix();
    message_send();
    assert_int_equal(shutdown(t.mta, SHUT_RDWR), 0);
    run_until_ended();
    assert_int_equal(t.abandoned, 1);
}

static void
test_progress(void **state)
{
    (void)state;
    t.services.progress_us = 5000;
    connect_as_postfix();
    message_send();
    MTA_EXPECT_EMPTY(SMFIR_PROGRESS);
    MTA_EXPECT_EMPTY(SMFIR_PROGRESS);
    give_reply(ACTION_QUARANTINE, VERDICT_INFECTED, "550 5.7.1 virus");
    char header[5];
    do {
        mta_read(header, sizeof header);
    } while (header[4] == SMFIR_PROGRESS);
    assert_int_equal(header[4], SMFIR_REPLYCODE);
    char text[16];
    mta_read(text, sizeof "550 5.7.1 virus");
    assert_true(sd_event_run(t.event, 50000) >= 0);
    mta_expect_nothing(); /* none after the reply */
}

/* Without agreement each step is answered, and the space that the MTA has eaten comes back. */
static void
test_version_2(void **state)
{
    (void)state;
    negotiate(2, 0x3f, 0x7f);
    MTA_SEND(SMFIC_CONNECT, "localhost\0U");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_HELO, "me");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_MACRO, "Mi\0"
                          "7ABC");
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "<b@example.org>");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_HEADER, "Subject\0x\r\n y\n\rz"); /* one line end is one line end */
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_EOH);
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    mta_send(SMFIC_BODY, "b\r\n", 3);
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    check_content("Subject: x\r\n y\r\n\rz\r\n\r\nb\r\n", 25);
    assert_string_equal(t.envelope->queue_id, "7ABC"); /* Sendmail says it at MAIL */
    assert_null(t.envelope->client_addr);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
}

/* A new body: ours are the headers, then the body in pieces, then the word that makes it hold. */
static void
test_replaced(void **state)
{
    static char text[70000];
    struct decision decision = {.action = ACTION_REPLACE, .verdict = VERDICT_INFECTED};
    static char reason[] = "Evil", key[] = "abc";
    decision.reason = reason;
    decision.key = key;
    (void)state;
    memset(text, 'x', sizeof text);
    connect_as_postfix();
    message_send();
    t.replacement = spool_new(&t.budget, 100000);
    assert_int_equal(spool_append(t.replacement, "A: b\r\n\r\n", 8), 0);
    spool_body_begins(t.replacement);
    assert_int_equal(spool_append(t.replacement, text, sizeof text), 0);
    assert_int_equal(spool_seal(t.replacement), 0);
    t.reply(t.reply_data, &decision);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Action\0 replace");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Reason\0 Evil");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Key\0 abc");
    gsize got = 0;
    char header[5];
    for (;;) {
        mta_read(header, sizeof header);
        gsize n = (gsize)((guint8)header[2] << 8 | (guint8)header[3]) - 1;
        if (header[4] != SMFIR_REPLBODY) {
            break;
        }
        g_autofree char *piece = g_malloc(n);
        assert_true(n > 0 && got + n <= sizeof text);
        mta_read(piece, n);
        assert_memory_equal(piece, text + got, n);
        got += n;
    }
    assert_int_equal(got, sizeof text);
    assert_int_equal(header[4], SMFIR_ACCEPT);
    run();
    message_send(); /* the next message */
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
}

/* A new message without a body would have the MTA deliver the old one. */
static void
test_replaced_by_nothing(void **state)
{
    struct decision decision = {.action = ACTION_REPLACE, .verdict = VERDICT_INFECTED};
    (void)state;
    connect_as_postfix();
    for (int begins = 0; begins < 2; begins++) {
        message_send();
        t.replacement = spool_new(&t.budget, 100000);
        assert_int_equal(spool_append(t.replacement, "A: b\r\n\r\n", 8), 0);
        if (begins) {
            spool_body_begins(t.replacement);
        }
        assert_int_equal(spool_seal(t.replacement), 0);
        t.reply(t.reply_data, &decision);
        MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 clean");
        MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Action\0 replace");
        MTA_EXPECT_EMPTY(SMFIR_TEMPFAIL);
    }
}

static void
test_tag_and_discard(void **state)
{
    static char reason[] = "encrypted: ZIP";
    struct decision decision = {
        .action = ACTION_TAG, .verdict = VERDICT_UNSCANNED, .reason = reason};
    (void)state;
    connect_as_postfix();
    envelope_send();
    MTA_SEND(SMFIC_HEADER, "X-Postern-Reason\0 trust me");
    MTA_SEND(SMFIC_HEADER, "x-postern-key\0 0");
    MTA_SEND_EMPTY(SMFIC_EOH);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    t.reply(t.reply_data, &decision);
    MTA_EXPECT(SMFIR_CHGHEADER, "\0\0\0\1X-Postern-Reason\0");
    MTA_EXPECT(SMFIR_CHGHEADER, "\0\0\0\1X-Postern-Key\0");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0 not fully scanned");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Action\0 tag");
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern-Reason\0 encrypted: ZIP");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
    message_send();
    give_reply(ACTION_DISCARD, VERDICT_INFECTED, NULL);
    MTA_EXPECT_EMPTY(SMFIR_DISCARD);
}

static void
test_drain(void **state)
{
    (void)state;
    connect_as_postfix();
    message_send();
    t.storing = true;
    milter_session_drain(t.session);
    mta_expect_nothing();
    assert_non_null(t.session);
    give_reply(ACTION_QUARANTINE, VERDICT_INFECTED, "550 5.7.1 virus");
    MTA_EXPECT(SMFIR_REPLYCODE, "550 5.7.1 virus");
    mta_expect_closed();
    assert_int_equal(t.abandoned, 0);

    close(t.mta);
    session_open();
    connect_as_postfix();
    message_send();
    milter_session_drain(t.session);
    MTA_SEND_EMPTY(SMFIC_ABORT); /* nobody waits for the reply any more */
    mta_expect_closed();
    assert_int_equal(t.abandoned, 1);

    close(t.mta);
    session_open();
    t.storing = false;
    connect_as_postfix();
    message_send();
    milter_session_drain(t.session);
    mta_expect_closed();
    assert_int_equal(t.abandoned, 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, mta_setup, mta_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_message),
        TEST(test_direction),
        TEST(test_byte_by_byte),
        TEST(test_foreign_headers),
        TEST(test_several_messages),
        TEST(test_abort),
        TEST(test_client_goes_while_scanning),
        TEST(test_progress),
        TEST(test_replaced),
        TEST(test_replaced_by_nothing),
        TEST(test_tag_and_discard),
        TEST(test_version_2),
        TEST(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

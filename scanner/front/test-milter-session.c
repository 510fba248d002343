/* SPDX-License-Identifier: GPL-2.0-only */
/* A session over a socket pair; the test is the MTA, and plays pool and transaction. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "counters.h"
#include "milter-codec.h"
#include "milter-session.h"

#define GIVE_UP_US (10 * G_TIME_SPAN_SECOND)
#define NO_REPLIES 0x1fffff /* an MTA that offers everything */

static struct {
    sd_event *event;
    int mta;
    struct milter_session *session; /* NULL once it has ended */
    struct settings settings;
    struct counters counters;
    struct spool_budget budget;
    struct transaction_services transaction;
    struct milter_services services;
    bool ready;
    /* The transaction that was begun. */
    int started;
    int abandoned;
    bool storing;
    struct envelope *envelope;
    struct spool *spool;
    transaction_reply *reply;
    void *reply_data;
} t;

bool
pool_ready(const struct pool *pool)
{
    (void)pool;
    return t.ready;
}

static void
message_drop(void)
{
    g_clear_pointer(&t.envelope, envelope_free);
    g_clear_pointer(&t.spool, spool_free);
}

struct transaction *
transaction_start(struct transaction_services *services, struct envelope *envelope,
                  struct spool *spool, transaction_reply *reply, void *data)
{
    assert_ptr_equal(services, &t.transaction);
    message_drop();
    t.started++;
    t.envelope = envelope;
    t.spool = spool;
    t.reply = reply;
    t.reply_data = data;
    return (struct transaction *)(void *)&t;
}

void
transaction_abandon(struct transaction *transaction)
{
    t.abandoned += transaction != NULL;
}

gboolean
transaction_is_storing(const struct transaction *transaction)
{
    return transaction != NULL && t.storing;
}

static void
on_session_ended(void *data, struct milter_session *session)
{
    assert_ptr_equal(data, &t);
    assert_ptr_equal(session, t.session);
    milter_session_free(session);
    t.session = NULL;
}

static void
session_open(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    t.mta = pair[0];
    assert_int_equal(milter_session_new(&t.services, pair[1], on_session_ended, &t, &t.session), 0);
}

static int
setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.ready = true;
    t.settings.client_timeout = 60;
    t.settings.message_size = 1000000;
    t.budget.limit = 2000000;
    t.transaction.counters = &t.counters;
    assert_true(sd_event_new(&t.event) >= 0);
    t.services = (struct milter_services){.event = t.event,
                                          .settings = &t.settings,
                                          .transaction = &t.transaction,
                                          .budget = &t.budget,
                                          .progress_us = 60 * G_TIME_SPAN_SECOND};
    session_open();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    milter_session_free(t.session);
    message_drop();
    sd_event_unref(t.event);
    close(t.mta);
    return t.budget.used == 0 ? 0 : -1;
}

/* Lets the session do what it can do now. */
static void
run(void)
{
    while (sd_event_run(t.event, 0) > 0) {
    }
}

static void
run_until_readable(void)
{
    struct pollfd wait = {.fd = t.mta, .events = POLLIN};
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (poll(&wait, 1, 0) == 0) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

static void
run_until_ended(void)
{
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (t.session != NULL) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

static void
mta_send(char command, const void *data, gsize len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    milter_encode(out, command, data, len);
    assert_int_equal(send(t.mta, out->data, out->len, MSG_NOSIGNAL), (ssize_t)out->len);
    run();
}

/* A literal with its terminating NUL, which ends the last text. */
#define MTA_SEND(command, literal) mta_send(command, literal, sizeof literal)
#define MTA_SEND_EMPTY(command) mta_send(command, NULL, 0)

static void
mta_read(void *bytes, gsize len)
{
    for (gsize at = 0; at < len;) {
        run_until_readable();
        ssize_t n = read(t.mta, (char *)bytes + at, len - at);
        assert_true(n > 0);
        at += (gsize)n;
    }
}

/* The next reply must be COMMAND with exactly these bytes. */
static void
mta_expect(char command, const void *data, gsize len)
{
    char header[5];
    char got[512];
    mta_read(header, sizeof header);
    guint32 n = (guint32)((guint8)header[2] << 8 | (guint8)header[3]);
    assert_true(n >= 1 && n <= sizeof got);
    mta_read(got, n - 1);
    assert_int_equal(header[4], command);
    assert_int_equal(n - 1, len);
    if (len > 0) {
        assert_memory_equal(got, data, len);
    }
}
#define MTA_EXPECT(command, literal) mta_expect(command, literal, sizeof literal)
#define MTA_EXPECT_EMPTY(command) mta_expect(command, NULL, 0)

static void
mta_expect_nothing(void)
{
    struct pollfd wait = {.fd = t.mta, .events = POLLIN};
    run();
    assert_int_equal(poll(&wait, 1, 0), 0);
}

static void
mta_expect_closed(void)
{
    char byte;
    run_until_ended();
    assert_true(recv(t.mta, &byte, 1, 0) <= 0);
}

static void
negotiate(guint32 version, guint32 actions, guint32 protocol)
{
    guint32 offer[] = {g_htonl(version), g_htonl(actions), g_htonl(protocol)};
    char header[5];
    mta_send(SMFIC_OPTNEG, offer, sizeof offer);
    mta_read(header, sizeof header);
    assert_int_equal(header[4], SMFIC_OPTNEG);
    g_autofree char *rest = g_malloc((gsize)header[3]);
    mta_read(rest, (gsize)header[3] - 1);
}

static void
connect_as_postfix(void)
{
    negotiate(6, 0x1ff, NO_REPLIES);
    mta_send(SMFIC_MACRO, "C", 1);
    MTA_SEND(SMFIC_CONNECT, "mail.example.org\0"
                            "4\0\31"
                            "192.0.2.1");
    MTA_SEND(SMFIC_HELO, "mail.example.org");
    mta_expect_nothing();
}

static void
envelope_send(void)
{
    MTA_SEND(SMFIC_MACRO, "M{auth_authen}\0jo");
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=100");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "<b@example.org>");
    MTA_SEND(SMFIC_RCPT, "<c@example.org>\0NOTIFY=NEVER");
}

static void
content_send(void)
{
    MTA_SEND(SMFIC_HEADER, "Message-Id\0 <1@example.org>");
    MTA_SEND(SMFIC_HEADER, "Subject\0\ttwo\n\tlines ");
    MTA_SEND_EMPTY(SMFIC_EOH);
    mta_send(SMFIC_BODY, "one\r\n", 5);
    mta_send(SMFIC_BODY, "t\0wo\r\n", 6);
}

static void
message_send(void)
{
    envelope_send();
    content_send();
    MTA_SEND(SMFIC_MACRO, "Ei\0"
                          "4QID");
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
}

static void
give_reply(enum action action, enum verdict verdict, const char *reply)
{
    g_autofree char *text = g_strdup(reply);
    struct decision decision = {.action = action, .verdict = verdict, .reply = text};
    t.reply(t.reply_data, &decision);
    run();
}

static void
check_content(const char *expected, gsize len)
{
    char got[1024];
    assert_int_equal(pread(spool_fd(t.spool), got, sizeof got, 0), (ssize_t)len);
    assert_memory_equal(got, expected, len);
}

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
    MTA_SEND(SMFIC_HEADER, "Subject\0x");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_EOH);
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    mta_send(SMFIC_BODY, "b\r\n", 3);
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    check_content("Subject: x\r\n\r\nb\r\n", 17);
    assert_string_equal(t.envelope->queue_id, "7ABC"); /* Sendmail says it at MAIL */
    assert_null(t.envelope->client_addr);
    give_reply(ACTION_ACCEPT, VERDICT_CLEAN, NULL);
    MTA_EXPECT(SMFIR_ADDHEADER, "X-Postern\0clean");
    MTA_EXPECT_EMPTY(SMFIR_ACCEPT);
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
    assert_int_equal(t.budget.used, 0);
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

static void
test_budget(void **state)
{
    (void)state;
    connect_as_postfix();
    t.budget.used = t.budget.limit - 65535;
    MTA_SEND(SMFIC_MAIL, "<a@example.org>");
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.3.1 The virus scanner is busy, try again later");
    t.budget.used = t.budget.limit - 65536;
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=65537");
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.3.1 The virus scanner is busy, try again later");
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=65536");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    assert_int_equal(t.counters.refused, 2);
    MTA_SEND_EMPTY(SMFIC_EOH);
    char body[65535] = {0};
    mta_send(SMFIC_BODY, body, sizeof body);
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
    MTA_EXPECT(SMFIR_REPLYCODE, "451 4.3.1 The virus scanner is busy, try again later");
    assert_int_equal(t.started, 0);
    t.budget.used -= t.budget.limit - 65536;
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
    t.storing = false;
    connect_as_postfix();
    message_send();
    milter_session_drain(t.session);
    mta_expect_closed();
    assert_int_equal(t.abandoned, 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_message),
        TEST(test_byte_by_byte),
        TEST(test_foreign_headers),
        TEST(test_too_many_foreign_headers),
        TEST(test_several_messages),
        TEST(test_abort),
        TEST(test_client_goes_while_scanning),
        TEST(test_progress),
        TEST(test_version_2),
        TEST(test_too_large),
        TEST(test_too_large_version_2),
        TEST(test_budget),
        TEST(test_not_ready),
        TEST(test_recipients_without_end),
        TEST(test_hostile),
        TEST(test_hostile_start),
        TEST(test_peer_does_not_read),
        TEST(test_idle),
        TEST(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

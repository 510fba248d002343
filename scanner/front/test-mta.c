/* SPDX-License-Identifier: GPL-2.0-only */
#include "test-mta.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GIVE_UP_US (120 * G_TIME_SPAN_SECOND)

struct mta t;

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

struct spool *
transaction_take_replacement(struct transaction *transaction)
{
    assert_ptr_equal(transaction, &t);
    return g_steal_pointer(&t.replacement);
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

void
session_open(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    t.mta = pair[0];
    assert_int_equal(
        milter_session_new(&t.services, pair[1], t.submission, on_session_ended, &t, &t.session),
        0);
}

int
mta_setup(void **state)
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

int
mta_teardown(void **state)
{
    (void)state;
    milter_session_free(t.session);
    message_drop();
    sd_event_unref(t.event);
    close(t.mta);
    return t.budget.used == 0 ? 0 : -1;
}

/* Lets the session do what it can do now. */
void
run(void)
{
    while (sd_event_run(t.event, 0) > 0) {
    }
}

void
run_until_readable(void)
{
    struct pollfd wait = {.fd = t.mta, .events = POLLIN};
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (poll(&wait, 1, 0) == 0) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

void
run_until_ended(void)
{
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (t.session != NULL) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

void
mta_send(char command, const void *data, gsize len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    milter_encode(out, command, data, len);
    assert_int_equal(send(t.mta, out->data, out->len, MSG_NOSIGNAL), (ssize_t)out->len);
    run();
}

void
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
void
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

void
mta_expect_nothing(void)
{
    struct pollfd wait = {.fd = t.mta, .events = POLLIN};
    run();
    assert_int_equal(poll(&wait, 1, 0), 0);
}

void
mta_expect_closed(void)
{
    char byte;
    run_until_ended();
    assert_true(recv(t.mta, &byte, 1, 0) <= 0);
}

void
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

void
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

void
envelope_send(void)
{
    MTA_SEND(SMFIC_MACRO, "M{auth_authen}\0jo");
    MTA_SEND(SMFIC_MAIL, "<a@example.org>\0SIZE=100");
    MTA_EXPECT_EMPTY(SMFIR_CONTINUE);
    MTA_SEND(SMFIC_RCPT, "<b@example.org>");
    MTA_SEND(SMFIC_RCPT, "<c@example.org>\0NOTIFY=NEVER");
}

void
content_send(void)
{
    MTA_SEND(SMFIC_HEADER, "Message-Id\0 <1@example.org>");
    MTA_SEND(SMFIC_HEADER, "Subject\0\ttwo\n\tlines ");
    MTA_SEND_EMPTY(SMFIC_EOH);
    mta_send(SMFIC_BODY, "one\r\n", 5);
    mta_send(SMFIC_BODY, "t\0wo\r\n", 6);
}

void
message_send(void)
{
    envelope_send();
    content_send();
    MTA_SEND(SMFIC_MACRO, "Ei\0"
                          "4QID");
    MTA_SEND_EMPTY(SMFIC_BODYEOB);
}

void
give_reply(enum action action, enum verdict verdict, const char *reply)
{
    g_autofree char *text = g_strdup(reply);
    struct decision decision = {.action = action, .verdict = verdict, .reply = text};
    t.reply(t.reply_data, &decision);
    run();
}

void
check_content(const char *expected, gsize len)
{
    char got[1024];
    assert_int_equal(pread(spool_fd(t.spool), got, sizeof got, 0), (ssize_t)len);
    assert_memory_equal(got, expected, len);
}

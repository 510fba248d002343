/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter-session.h"

#include <errno.h>
#include <string.h>

#include "counters.h"
#include "esmtp.h"
#include "log.h"
#include "milter-codec.h"
#include "milter-message.h"
#include "networks.h"
#include "stream.h"

#define SMALL_TEXT_MAX 1024U
/* What a connection holds between messages without asking the budget. */
#define IDLE_BYTES 4096U

/* Where a connection can be; each command says where it may come. */
enum session_state {
    STATE_START = 1 << 0,    /* nothing negotiated */
    STATE_IDLE = 1 << 1,     /* between messages */
    STATE_ENVELOPE = 1 << 2, /* after MAIL */
    STATE_HEADER = 1 << 3,
    STATE_BODY = 1 << 4,
    STATE_WAIT = 1 << 5, /* the MTA waits for the reply to the message */
    STATE_END = 1 << 6,
};

#define STATE_MESSAGE (STATE_ENVELOPE | STATE_HEADER | STATE_BODY)
#define STATE_ANY (STATE_IDLE | STATE_MESSAGE)

struct milter_session {
    const struct milter_services *services;
    milter_session_ended *ended;
    void *data;
    struct stream *stream;
    enum session_state state;
    bool draining;
    bool submission; /* all of its messages are */
    struct milter_options options;
    /* The connection. */
    char *client_name;
    char *client_addr;
    char *helo;
    bool local; /* no network between the client and the MTA */
    /* Macros of the current message. */
    char *auth_user;
    char *queue_id;
    struct milter_message *message; /* being received */
    struct milter_marks marks;      /* of the message that is being scanned */
    struct transaction *transaction;
    struct spool *replacement; /* whose body is being sent */
    guint64 replacement_at;    /* sent so far */
    sd_event_source *progress;
};

/* What a command's function returns, besides -errno. */
enum outcome {
    SILENT,   /* nothing is (yet) to be answered */
    ANSWER,   /* "continue", unless the message is refused or no answer was agreed */
    CONTINUE, /* "continue", unless no answer was agreed: it is none about the message */
};

static bool
agreed(const struct milter_session *s, long protocol)
{
    return (s->options.protocol & (guint32)protocol) != 0;
}

static char *
small_text(const char *text)
{
    return g_strndup(text, SMALL_TEXT_MAX);
}

static void
replace(char **slot, const char *text)
{
    g_free(*slot);
    *slot = small_text(text);
}

/* What it had taken for the connection's buffers goes with it. */
static void
message_drop(struct milter_session *s)
{
    milter_message_free(g_steal_pointer(&s->message));
    if (s->stream != NULL) {
        stream_set_budget(s->stream, s->services->budget, IDLE_BYTES);
    }
}

static void
message_reset(struct milter_session *s)
{
    transaction_abandon(g_steal_pointer(&s->transaction));
    g_clear_pointer(&s->replacement, spool_free);
    s->progress = sd_event_source_disable_unref(s->progress);
    message_drop(s);
    g_clear_pointer(&s->auth_user, g_free);
    g_clear_pointer(&s->queue_id, g_free);
    s->state = STATE_IDLE;
}

static void
connection_reset(struct milter_session *s)
{
    message_reset(s);
    g_clear_pointer(&s->client_name, g_free);
    g_clear_pointer(&s->client_addr, g_free);
    g_clear_pointer(&s->helo, g_free);
    s->local = false;
}

static void
refusal_send(struct milter_session *s)
{
    s->message->envelope->queue_id = g_steal_pointer(&s->queue_id);
    milter_message_log_refusal(s->message, s->services->transaction->counters);
    milter_encode_replycode(stream_output(s->stream), s->message->refusal->reply);
    message_reset(s);
}

/* --- the commands --------------------------------------------------------------------------- */

static int
on_negotiate(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_options offer;
    int rc = milter_options_decode(packet, &offer);
    if (rc == 0) {
        rc = milter_negotiate(&offer, &s->options);
    }
    if (rc < 0) {
        return rc;
    }
    s->state = STATE_IDLE;
    milter_encode_options(stream_output(s->stream), &s->options);
    return SILENT;
}

static int
on_connect(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_connect connect;
    int rc = milter_connect_decode(packet, &connect);
    if (rc < 0) {
        return rc;
    }
    connection_reset(s);
    /* An address in brackets stands for a client without a name. */
    s->local = connect.family == SMFIA_UNIX ||
               (connect.family == SMFIA_UNKNOWN && strcmp(connect.name, "localhost") == 0);
    s->client_name = connect.name[0] != '[' ? small_text(connect.name) : NULL;
    if (connect.family == SMFIA_UNIX) {
        s->client_addr = g_strdup("unix");
    } else if (connect.address != NULL) {
        s->client_addr = small_text(connect.address);
    }
    return ANSWER;
}

static int
on_helo(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_texts texts = milter_texts_of(packet);
    const char *helo;
    if (milter_texts_next(&texts, &helo) != 1) {
        return -EBADMSG;
    }
    replace(&s->helo, helo);
    return CONTINUE;
}

static int
on_macro(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_texts texts;
    char name[64];
    const char *value;
    int rc = milter_macros_of(packet, &texts);
    while (rc >= 0 && (rc = milter_macros_next(&texts, name, &value)) == 1) {
        if (strcmp(name, "i") == 0) {
            replace(&s->queue_id, value);
        } else if (strcmp(name, "auth_authen") == 0) {
            replace(&s->auth_user, value);
        }
    }
    return rc < 0 ? rc : SILENT;
}

/* The client's SIZE=, 0 when it says none. What it really sends is counted all the same. *KEPT:
 * what a release has to say again. */
static guint64
mail_parameters(struct milter_texts *parameters, char **kept)
{
    const char *text;
    guint64 size = 0;
    while (milter_texts_next(parameters, &text) == 1) {
        if (g_ascii_strncasecmp(text, "SIZE=", 5) == 0) {
            size = g_ascii_strtoull(text + 5, NULL, 10);
        }
        *kept = esmtp_add(*kept, ESMTP_MAIL, text);
    }
    return size;
}

static char *
rcpt_parameters(struct milter_texts *parameters)
{
    const char *text;
    char *kept = NULL;
    while (milter_texts_next(parameters, &text) == 1) {
        kept = esmtp_add(kept, ESMTP_RCPT, text);
    }
    return kept;
}

/* A program on the MTA's own machine that speaks through a pipe is "localhost" without an address
 * (Sendmail -bs) or has 127.0.0.1 (Postfix, sendmail command too). Another client without an
 * address is just unknown. */
static enum direction
direction_of(const struct milter_session *s)
{
    bool user = s->auth_user != NULL && *s->auth_user != '\0';
    bool ours = s->submission || user || s->local ||
                networks_have(s->services->settings->submission_clients, s->client_addr);
    return ours ? DIRECTION_SUBMISSION : DIRECTION_INBOUND;
}

static int
on_mail(struct milter_session *s, const struct milter_packet *packet)
{
    const struct milter_services *services = s->services;
    struct milter_texts texts = milter_texts_of(packet);
    const char *sender;
    if (milter_texts_next(&texts, &sender) != 1) {
        return -EBADMSG;
    }
    struct envelope *envelope = envelope_new();
    envelope->sender = milter_message_address(sender);
    envelope->client_name = g_strdup(s->client_name);
    envelope->client_addr = g_strdup(s->client_addr);
    envelope->helo = g_strdup(s->helo);
    envelope->auth_user = g_strdup(s->auth_user);
    envelope->direction = direction_of(s);
    guint64 size = mail_parameters(&texts, &envelope->parameters);
    s->message = milter_message_new(services->transaction, services->budget,
                                    services->settings->message_size, envelope, size);
    stream_set_budget(s->stream, services->budget, (gsize)s->message->buffers + IDLE_BYTES);
    s->state = STATE_ENVELOPE;
    return ANSWER;
}

static int
on_rcpt(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_texts texts = milter_texts_of(packet);
    const char *recipient;
    if (milter_texts_next(&texts, &recipient) != 1) {
        return -EBADMSG;
    }
    const struct refusal *refusal =
        milter_message_add_recipient(s->message, recipient, rcpt_parameters(&texts));
    if (refusal == NULL) {
        return CONTINUE;
    }
    if (agreed(s, SMFIP_NR_RCPT)) {
        milter_message_refuse(s->message, refusal);
    } else {
        /* Here an answer is for this recipient alone. */
        milter_encode_replycode(stream_output(s->stream), refusal->reply);
    }
    return SILENT;
}

/* A command that the MTA does not know: its client hears that from the MTA. */
static int
on_unknown(struct milter_session *s, const struct milter_packet *packet)
{
    (void)s;
    (void)packet;
    return CONTINUE;
}

static int
on_data(struct milter_session *s, const struct milter_packet *packet)
{
    (void)s;
    (void)packet;
    return ANSWER;
}

static int
on_header(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_header header;
    int rc = milter_header_decode(packet, &header);
    if (rc < 0) {
        return rc;
    }
    s->state = STATE_HEADER;
    milter_message_add_header(s->message, &header, agreed(s, SMFIP_HDR_LEADSPC));
    return ANSWER;
}

static int
on_end_of_header(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    milter_message_end_header(s->message);
    s->state = STATE_BODY;
    return ANSWER;
}

static int
on_body(struct milter_session *s, const struct milter_packet *packet)
{
    if (s->state != STATE_BODY) {
        (void)on_end_of_header(s, packet);
    }
    milter_message_add_body(s->message, packet->data, packet->len);
    return ANSWER;
}

/* --- the reply ------------------------------------------------------------------------------ */

static void
reply_end(struct milter_session *s)
{
    message_reset(s);
    if (s->draining) {
        s->state = STATE_END;
    }
}

static void
on_reply(void *data, const struct decision *decision)
{
    struct milter_session *s = data;
    struct transaction *transaction = g_steal_pointer(&s->transaction);
    milter_message_answer(stream_output(s->stream), &s->marks, decision,
                          agreed(s, SMFIP_HDR_LEADSPC));
    if (decision->action == ACTION_REPLACE) {
        s->replacement = transaction_take_replacement(transaction);
        s->replacement_at = 0;
        s->progress = sd_event_source_disable_unref(s->progress);
    } else {
        reply_end(s);
    }
    if (s->draining) {
        stream_finish(s->stream);
    } else {
        stream_flush(s->stream);
    }
}

/* A new body goes out piece by piece, as the MTA takes it. */
static void
on_sent(void *data, GByteArray *output)
{
    struct milter_session *s = data;
    if (s->replacement != NULL &&
        !milter_message_send_body(output, s->replacement, &s->replacement_at)) {
        reply_end(s);
    }
}

static int
on_progress(sd_event_source *source, uint64_t now_us, void *data)
{
    struct milter_session *s = data;
    if (!stream_is_stuck(s->stream)) {
        milter_encode(stream_output(s->stream), SMFIR_PROGRESS, NULL, 0);
        stream_flush(s->stream);
    }
    (void)sd_event_source_set_time(source, now_us + s->services->progress_us);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int
on_end_of_message(struct milter_session *s, const struct milter_packet *packet)
{
    (void)on_body(s, packet);
    milter_message_seal(s->message);
    if (s->message->refusal != NULL) {
        return ANSWER;
    }
    int rc = sd_event_add_time_relative(s->services->event, &s->progress, CLOCK_MONOTONIC,
                                        s->services->progress_us, 1000, on_progress, s);
    if (rc < 0) {
        return rc;
    }
    struct envelope *envelope = g_steal_pointer(&s->message->envelope);
    struct spool *spool = g_steal_pointer(&s->message->spool);
    envelope->queue_id = g_steal_pointer(&s->queue_id);
    s->marks = s->message->marks;
    message_drop(s);
    s->state = STATE_WAIT;
    s->transaction = transaction_start(s->services->transaction, envelope, spool, on_reply, s);
    return SILENT;
}

/* Nothing more is read; what is written is still sent. */
static void
session_end(struct milter_session *s)
{
    message_reset(s);
    s->state = STATE_END;
    stream_finish(s->stream);
}

static int
on_abort(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    if (s->draining) {
        session_end(s);
    } else {
        message_reset(s);
    }
    return SILENT;
}

static int
on_quit_new_connection(struct milter_session *s, const struct milter_packet *packet)
{
    connection_reset(s);
    return on_abort(s, packet);
}

static int
on_quit(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    session_end(s);
    return SILENT;
}

/* --- the engine ----------------------------------------------------------------------------- */

static const struct command {
    char code;
    unsigned states; /* where it may come */
    long no_reply;   /* agreed upon, it is not answered; 0: see its function */
    int (*run)(struct milter_session *s, const struct milter_packet *packet);
} commands[] = {
    {SMFIC_OPTNEG, STATE_START, 0, on_negotiate},
    {SMFIC_CONNECT, STATE_IDLE, SMFIP_NR_CONN, on_connect},
    {SMFIC_HELO, STATE_ANY, SMFIP_NR_HELO, on_helo},
    {SMFIC_MACRO, STATE_ANY, 0, on_macro},
    {SMFIC_MAIL, STATE_IDLE, 0, on_mail},
    {SMFIC_RCPT, STATE_ENVELOPE, SMFIP_NR_RCPT, on_rcpt},
    {SMFIC_DATA, STATE_ENVELOPE, SMFIP_NR_DATA, on_data},
    {SMFIC_UNKNOWN, STATE_ANY, SMFIP_NR_UNKN, on_unknown},
    {SMFIC_HEADER, STATE_ENVELOPE | STATE_HEADER, SMFIP_NR_HDR, on_header},
    {SMFIC_EOH, STATE_ENVELOPE | STATE_HEADER, SMFIP_NR_EOH, on_end_of_header},
    {SMFIC_BODY, STATE_MESSAGE, SMFIP_NR_BODY, on_body},
    {SMFIC_BODYEOB, STATE_MESSAGE, 0, on_end_of_message},
    {SMFIC_ABORT, STATE_ANY | STATE_WAIT, 0, on_abort},
    {SMFIC_QUIT_NC, STATE_ANY | STATE_WAIT, 0, on_quit_new_connection},
    {SMFIC_QUIT, STATE_START | STATE_ANY | STATE_WAIT, 0, on_quit},
};

static const struct command *
command_of(const struct milter_session *s, guint8 code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if ((guint8)commands[i].code == code) {
            return (commands[i].states & s->state) != 0 ? &commands[i] : NULL;
        }
    }
    return NULL;
}

static int
run_packet(struct milter_session *s, const struct milter_packet *packet)
{
    const struct command *command = command_of(s, packet->command);
    if (command == NULL) {
        return -EPROTO;
    }
    int rc = command->run(s, packet);
    if (rc < 0 || rc == SILENT || agreed(s, command->no_reply)) {
        return MIN(rc, 0);
    }
    if (rc == ANSWER && s->message != NULL && s->message->refusal != NULL) {
        refusal_send(s);
    } else {
        milter_encode(stream_output(s->stream), SMFIR_CONTINUE, NULL, 0);
    }
    return 0;
}

static gssize
on_input(void *data, const char *bytes, gsize len)
{
    struct milter_session *s = data;
    gsize at = 0;
    while (s->state != STATE_END) {
        struct milter_packet packet;
        gsize used = 0;
        int rc = milter_packet_parse(bytes + at, len - at, &packet, &used);
        if (rc == 0) {
            return (gssize)at;
        }
        if (rc > 0) {
            rc = run_packet(s, &packet);
        }
        if (rc < 0) {
            return rc;
        }
        at += used;
    }
    return (gssize)len;
}

static void
no_memory(struct milter_session *s)
{
    if (s->message != NULL) {
        milter_message_refuse(s->message, &milter_message_busy);
        milter_message_log_refusal(s->message, s->services->transaction->counters);
    } else {
        s->services->transaction->counters->refused++;
    }
    log_warning("milter: connection closed: no memory for what it sends is free");
}

static void
on_ended(void *data, int reason)
{
    struct milter_session *s = data;
    if (reason == -ETIMEDOUT) {
        log_info("milter: idle connection closed");
    } else if (reason == -ENOBUFS) {
        no_memory(s);
    } else if (reason == -EOPNOTSUPP) {
        log_warning(
            "milter: connection closed, the MTA says 451: it does not let headers and body be "
            "changed (SMFIF_ADDHDRS, SMFIF_CHGHDRS, SMFIF_CHGBODY)");
    } else if (reason == -EPROTO || reason == -EBADMSG || reason == -EMSGSIZE) {
        log_warning("milter: connection closed: what came is not the milter protocol, version "
                    "2 to 6 (%s)",
                    strerror(-reason));
    } else if (reason < 0 && reason != -ECONNRESET && reason != -EPIPE) {
        log_warning("milter: connection closed: %s", strerror(-reason));
    }
    s->ended(s->data, s);
}

static const struct stream_ops stream_ops = {
    .input = on_input,
    .sent = on_sent,
    .ended = on_ended,
};

int
milter_session_new(const struct milter_services *services, int fd, bool submission,
                   milter_session_ended *ended, void *data, struct milter_session **ret)
{
    struct milter_session *s = g_new0(struct milter_session, 1);
    s->services = services;
    s->ended = ended;
    s->data = data;
    s->state = STATE_START;
    s->submission = submission;
    int rc = stream_new(services->event, fd, services->settings->client_timeout * G_USEC_PER_SEC,
                        MILTER_LEN_BYTES + MILTER_PACKET_MAX, &stream_ops, s, &s->stream);
    if (rc < 0) {
        milter_session_free(s);
        return rc;
    }
    stream_set_budget(s->stream, services->budget, IDLE_BYTES);
    *ret = s;
    return 0;
}

void
milter_session_free(struct milter_session *s)
{
    if (s == NULL) {
        return;
    }
    connection_reset(s);
    stream_free(s->stream);
    g_free(s);
}

void
milter_session_drain(struct milter_session *s)
{
    if (transaction_is_storing(s->transaction)) {
        s->draining = true;
    } else {
        session_end(s);
    }
}

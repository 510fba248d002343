/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter-session.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "counters.h"
#include "log.h"
#include "message-line.h"
#include "milter-codec.h"
#include "stream.h"

#define OUR_HEADER "X-Postern"
/* More of them are nobody's mistake, and each costs the MTA a pass over the message. */
#define OUR_HEADER_MAX 100U
/* All recipients of a message together; what the MTA allows is far less. */
#define RECIPIENT_BYTES_MAX 2097152U
#define HEADER_KEPT_MAX 998U
#define SMALL_TEXT_MAX 1024U

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

/* Why a message is not taken, whatever is in it. */
struct refusal {
    const char *reply;
    const char *reason;
    size_t counter;
};

#define REFUSAL(name, counter, reason, reply) \
    static const struct refusal refusal_##name = {reply, reason, offsetof(struct counters, counter)}

REFUSAL(not_ready, tempfailed, "the scan engine is not ready",
        "451 4.7.1 The virus scanner is not ready, try again later");
REFUSAL(busy, refused, "spool_memory is used up",
        "451 4.3.1 The virus scanner is busy, try again later");
REFUSAL(spool, tempfailed, "the message could not be spooled",
        "451 4.3.0 The virus scanner has a problem, try again later");
REFUSAL(size, rejected, "larger than message_size",
        "552 5.3.4 The message is too large to be scanned for viruses");
REFUSAL(recipients, tempfailed, "too many recipients", "452 4.5.3 Too many recipients");
REFUSAL(headers, rejected, "too many " OUR_HEADER " headers",
        "550 5.7.1 Too many " OUR_HEADER " headers");

struct milter_session {
    const struct milter_services *services;
    milter_session_ended *ended;
    void *data;
    struct stream *stream;
    enum session_state state;
    bool draining;
    struct milter_options options;
    /* The connection. */
    char *client_name;
    char *client_addr;
    char *helo;
    /* Macros of the current message. */
    char *auth_user;
    char *queue_id;
    /* The current message. */
    struct envelope *envelope;
    struct spool *spool;
    const struct refusal *refusal; /* remembered until the MTA can be told */
    guint64 size;                  /* of what was received, refused or not */
    gsize recipient_bytes;
    guint our_headers;
    struct transaction *transaction;
    sd_event_source *progress;
};

/* What a command's function returns, besides -errno. */
enum outcome {
    SILENT, /* nothing is (yet) to be answered */
    ANSWER, /* "continue", unless the message is refused or no answer was agreed */
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

static void
message_reset(struct milter_session *s)
{
    transaction_abandon(g_steal_pointer(&s->transaction));
    s->progress = sd_event_source_disable_unref(s->progress);
    g_clear_pointer(&s->envelope, envelope_free);
    g_clear_pointer(&s->spool, spool_free);
    g_clear_pointer(&s->auth_user, g_free);
    g_clear_pointer(&s->queue_id, g_free);
    s->refusal = NULL;
    s->size = 0;
    s->recipient_bytes = 0;
    s->our_headers = 0;
    s->state = STATE_IDLE;
}

static void
connection_reset(struct milter_session *s)
{
    message_reset(s);
    g_clear_pointer(&s->client_name, g_free);
    g_clear_pointer(&s->client_addr, g_free);
    g_clear_pointer(&s->helo, g_free);
}

/* The rest of the message is received and thrown away. */
static void
refuse(struct milter_session *s, const struct refusal *refusal)
{
    if (s->refusal == NULL) {
        s->refusal = refusal;
        g_clear_pointer(&s->spool, spool_free);
    }
}

static void
refusal_send(struct milter_session *s)
{
    const struct refusal *refusal = s->refusal;
    struct counters *counters = s->services->transaction->counters;
    s->envelope->queue_id = g_steal_pointer(&s->queue_id);
    struct message_line record = {
        .envelope = s->envelope,
        .size = s->size,
        .reason = refusal->reason,
        .action = refusal->reply[0] == '5' ? "reject" : "tempfail",
    };
    g_autofree char *line = message_line(&record);
    log_notice("%s", line);
    ++*(guint64 *)(void *)((char *)counters + refusal->counter);
    milter_encode_replycode(stream_output(s->stream), refusal->reply);
    message_reset(s);
}

static void
spool_bytes(struct milter_session *s, const void *bytes, gsize len)
{
    s->size += len;
    if (s->refusal != NULL) {
        return;
    }
    int rc = spool_append(s->spool, bytes, len);
    if (rc == -ENOBUFS) {
        refuse(s, &refusal_busy);
    } else if (rc == -EFBIG) {
        refuse(s, &refusal_size);
    } else if (rc < 0) {
        log_err("milter: the message could not be spooled: %s", strerror(-rc));
        refuse(s, &refusal_spool);
    }
}

/* "<a@b>" -> "a@b" */
static char *
address_text(const char *raw)
{
    gsize len = strlen(raw);
    if (len >= 2 && raw[0] == '<' && raw[len - 1] == '>') {
        return g_strndup(raw + 1, len - 2);
    }
    return g_strdup(raw);
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
    return ANSWER;
}

/* The macros of MAIL begin a message: none of the one before may be left. */
static int
on_macro(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_texts texts;
    char command;
    char name[64];
    const char *value;
    int rc = milter_macros_of(packet, &command, &texts);
    if (rc == 0 && command == SMFIC_MAIL) {
        g_clear_pointer(&s->auth_user, g_free);
        g_clear_pointer(&s->queue_id, g_free);
    }
    while (rc >= 0 && (rc = milter_macros_next(&texts, name, &value)) == 1) {
        if (strcmp(name, "i") == 0) {
            replace(&s->queue_id, value);
        } else if (strcmp(name, "auth_authen") == 0) {
            replace(&s->auth_user, value);
        }
    }
    return rc < 0 ? rc : SILENT;
}

/* The client's SIZE=, 0 when it says none. What it really sends is counted all the same. */
static guint64
declared_size(struct milter_texts *parameters)
{
    const char *text;
    guint64 size = 0;
    while (milter_texts_next(parameters, &text) == 1) {
        if (g_ascii_strncasecmp(text, "SIZE=", 5) == 0) {
            size = g_ascii_strtoull(text + 5, NULL, 10);
        }
    }
    return size;
}

static void
message_admit(struct milter_session *s, guint64 size)
{
    const struct spool_budget *budget = s->services->budget;
    guint64 limit = s->services->settings->message_size;
    guint64 room = budget->limit - MIN(budget->used, budget->limit);
    if (!pool_ready(s->services->transaction->pool)) {
        refuse(s, &refusal_not_ready);
    } else if (size > limit) {
        refuse(s, &refusal_size);
    } else if (room < MAX(size, MIN(MILTER_SMALL_MESSAGE, limit))) {
        refuse(s, &refusal_busy);
    } else if ((s->spool = spool_new(s->services->budget, limit)) == NULL) {
        log_err("milter: no memory for a message: %s", strerror(errno));
        refuse(s, &refusal_spool);
    }
}

static int
on_mail(struct milter_session *s, const struct milter_packet *packet)
{
    struct milter_texts texts = milter_texts_of(packet);
    const char *sender;
    if (milter_texts_next(&texts, &sender) != 1) {
        return -EBADMSG;
    }
    s->envelope = envelope_new();
    s->envelope->sender = address_text(sender);
    s->envelope->client_name = g_strdup(s->client_name);
    s->envelope->client_addr = g_strdup(s->client_addr);
    s->envelope->helo = g_strdup(s->helo);
    s->envelope->auth_user = g_strdup(s->auth_user);
    s->state = STATE_ENVELOPE;
    message_admit(s, declared_size(&texts));
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
    s->recipient_bytes += strlen(recipient) + 64;
    if (s->recipient_bytes <= RECIPIENT_BYTES_MAX) {
        g_ptr_array_add(s->envelope->recipients, address_text(recipient));
        return ANSWER;
    }
    if (agreed(s, SMFIP_NR_RCPT)) {
        refuse(s, &refusal_recipients);
        return SILENT;
    }
    /* Here an answer is for this recipient alone. */
    milter_encode_replycode(stream_output(s->stream), refusal_recipients.reply);
    return SILENT;
}

static int
on_unused(struct milter_session *s, const struct milter_packet *packet)
{
    (void)s;
    (void)packet;
    return ANSWER;
}

/* The first of its kind, for the log and the quarantine. */
static void
header_keep(char **slot, const struct milter_header *header)
{
    if (*slot == NULL) {
        *slot = g_strstrip(g_strndup(header->value, MIN(header->value_len, HEADER_KEPT_MAX)));
    }
}

/* The MTA separates the lines of a value by bare newlines. */
static void
spool_lines(struct milter_session *s, const char *text, gsize len)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        gsize line = newline == NULL ? len : (gsize)(newline - text);
        gsize text_len = newline != NULL && line > 0 && text[line - 1] == '\r' ? line - 1 : line;
        spool_bytes(s, text, text_len);
        if (newline != NULL) {
            spool_bytes(s, "\r\n", 2);
            line++;
        }
        text += line;
        len -= line;
    }
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
    if (g_ascii_strcasecmp(header.name, "Message-ID") == 0) {
        header_keep(&s->envelope->message_id, &header);
    } else if (g_ascii_strcasecmp(header.name, "Subject") == 0) {
        header_keep(&s->envelope->subject, &header);
    } else if (g_ascii_strcasecmp(header.name, OUR_HEADER) == 0) {
        s->our_headers++;
    }
    spool_bytes(s, header.name, strlen(header.name));
    /* Without the agreement the MTA has eaten the space that nearly always stood there. */
    spool_bytes(s, ": ", agreed(s, SMFIP_HDR_LEADSPC) ? 1 : 2);
    spool_lines(s, header.value, header.value_len);
    spool_bytes(s, "\r\n", 2);
    return ANSWER;
}

static int
on_end_of_header(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    spool_bytes(s, "\r\n", 2);
    if (s->spool != NULL) {
        spool_body_begins(s->spool);
    }
    s->state = STATE_BODY;
    return ANSWER;
}

static int
on_body(struct milter_session *s, const struct milter_packet *packet)
{
    if (s->state != STATE_BODY) {
        (void)on_end_of_header(s, packet);
    }
    spool_bytes(s, packet->data, packet->len);
    return ANSWER;
}

/* --- the reply ------------------------------------------------------------------------------ */

/*
 * A header of ours that somebody else has written is taken away, from the last to the first so
 * that the numbers stay true. The value says what was found, never with what.
 */
static void
accept_send(struct milter_session *s, const struct decision *decision)
{
    GByteArray *out = stream_output(s->stream);
    const char *space = agreed(s, SMFIP_HDR_LEADSPC) ? " " : "";
    g_autofree char *value = g_strconcat(space, verdict_name(decision->verdict), NULL);
    for (guint i = s->our_headers; i > 0; i--) {
        milter_encode_change_header(out, i, OUR_HEADER, "");
    }
    milter_encode_add_header(out, OUR_HEADER, value);
    milter_encode(out, SMFIR_ACCEPT, NULL, 0);
}

static void
on_reply(void *data, const struct decision *decision)
{
    struct milter_session *s = data;
    s->transaction = NULL;
    if (decision->reply == NULL) {
        accept_send(s, decision);
    } else {
        milter_encode_replycode(stream_output(s->stream), decision->reply);
    }
    message_reset(s);
    if (s->draining) {
        s->state = STATE_END;
        stream_finish(s->stream);
    } else {
        stream_flush(s->stream);
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
    if (s->our_headers > OUR_HEADER_MAX) {
        refuse(s, &refusal_headers);
    }
    int rc = s->refusal != NULL ? 0 : spool_seal(s->spool);
    if (rc < 0) {
        log_err("milter: the message could not be sealed: %s", strerror(-rc));
        refuse(s, &refusal_spool);
    }
    if (s->refusal != NULL) {
        return ANSWER;
    }
    rc = sd_event_add_time_relative(s->services->event, &s->progress, CLOCK_MONOTONIC,
                                    s->services->progress_us, 1000, on_progress, s);
    if (rc < 0) {
        return rc;
    }
    s->envelope->queue_id = g_steal_pointer(&s->queue_id);
    s->state = STATE_WAIT;
    s->transaction = transaction_start(s->services->transaction, g_steal_pointer(&s->envelope),
                                       g_steal_pointer(&s->spool), on_reply, s);
    return SILENT;
}

static int
on_abort(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    message_reset(s);
    return SILENT;
}

static int
on_quit_new_connection(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    connection_reset(s);
    return SILENT;
}

static int
on_quit(struct milter_session *s, const struct milter_packet *packet)
{
    (void)packet;
    message_reset(s);
    s->state = STATE_END;
    stream_finish(s->stream);
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
    {SMFIC_DATA, STATE_ENVELOPE, SMFIP_NR_DATA, on_unused},
    {SMFIC_UNKNOWN, STATE_ANY, SMFIP_NR_UNKN, on_unused},
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
    if (rc != ANSWER || agreed(s, command->no_reply)) {
        return rc;
    }
    if (s->refusal != NULL) {
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
on_ended(void *data, int reason)
{
    struct milter_session *s = data;
    if (reason == -ETIMEDOUT) {
        log_info("milter: idle connection closed");
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
    .ended = on_ended,
};

int
milter_session_new(const struct milter_services *services, int fd, milter_session_ended *ended,
                   void *data, struct milter_session **ret)
{
    struct milter_session *s = g_new0(struct milter_session, 1);
    s->services = services;
    s->ended = ended;
    s->data = data;
    s->state = STATE_START;
    int rc = stream_new(services->event, fd, services->settings->client_timeout * G_USEC_PER_SEC,
                        MILTER_LEN_BYTES + MILTER_PACKET_MAX, &stream_ops, s, &s->stream);
    if (rc < 0) {
        milter_session_free(s);
        return rc;
    }
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
        return;
    }
    message_reset(s);
    s->state = STATE_END;
    stream_finish(s->stream);
}

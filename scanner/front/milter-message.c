/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter-message.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "counters.h"
#include "log.h"
#include "memory.h"
#include "message-line.h"

/* More of our headers are nobody's mistake, and each costs the MTA a pass over the message. */
#define OUR_HEADERS_MAX 100U
/* All recipients of a message together; what MTAs allow is far less. */
#define RECIPIENT_BYTES_MAX 2097152U
#define RECIPIENT_OVERHEAD 64U
/* Of a header that is kept for the log: RFC 5322's longest line. */
#define HEADER_KEPT_MAX 998U

/* In the order of struct milter_marks. */
enum mark { MARK_VERDICT, MARK_REASON, MARK_ACTION, MARK_KEY };
static const char *const mark_names[MILTER_HEADERS] = {
    [MARK_VERDICT] = MILTER_HEADER,
    [MARK_REASON] = MILTER_HEADER "-Reason",
    [MARK_ACTION] = MILTER_HEADER "-Action",
    [MARK_KEY] = MILTER_HEADER "-Key",
};

/* Of a new body; the protocol allows 65535 (MILTER_CHUNK_SIZE). */
#define BODY_PIECE 32768U

#define COUNTER(name) offsetof(struct counters, name)

static const struct refusal not_ready = {
    "451 4.7.1 The virus scanner is not ready, try again later", "the scan engine is not ready",
    COUNTER(tempfailed)};
const struct refusal milter_message_busy = {"451 4.3.1 The virus scanner is busy, try again later",
                                            "no memory for messages is free", COUNTER(refused)};
static const struct refusal broken = {"451 4.3.0 The virus scanner has a problem, try again later",
                                      "the message could not be spooled", COUNTER(tempfailed)};
static const struct refusal too_large = {
    "552 5.3.4 The message is too large to be scanned for viruses", "larger than message_size",
    COUNTER(rejected)};
static const struct refusal too_many_headers = {"550 5.7.1 Too many " MILTER_HEADER " headers",
                                                "too many " MILTER_HEADER " headers",
                                                COUNTER(rejected)};
static const struct refusal too_many_recipients = {"452 4.5.3 Too many recipients",
                                                   "too many recipients", COUNTER(tempfailed)};

void
milter_message_refuse(struct milter_message *m, const struct refusal *refusal)
{
    if (m->refusal == NULL) {
        m->refusal = refusal;
        spool_free(g_steal_pointer(&m->spool));
    }
}

static void
spool_failed(struct milter_message *m, int error)
{
    log_err("milter: a message could not be spooled: %s", strerror(error));
    milter_message_refuse(m, &broken);
}

/* One message of the largest size must always fit when there is nothing else. */
static guint64
left_for_small(const struct milter_message *m, guint64 size_limit)
{
    guint64 largest = size_limit + MEMORY_MESSAGE_OVERHEAD;
    return m->budget->limit > largest ? MIN(m->budget->limit / 4, m->budget->limit - largest) : 0;
}

static void
open_spool(struct milter_message *m, guint64 size_limit, guint64 expected)
{
    guint64 left = expected > MILTER_LARGE_MESSAGE ? left_for_small(m, size_limit) : 0;
    if (!spool_budget_has(m->budget, MILTER_BUFFERS + expected + left) ||
        !spool_budget_take(m->budget, MILTER_BUFFERS)) {
        milter_message_refuse(m, &milter_message_busy);
        return;
    }
    m->buffers = MILTER_BUFFERS;
    m->spool = spool_new(m->budget, size_limit);
    if (m->spool == NULL) {
        spool_failed(m, errno);
    } else if (spool_reserve(m->spool, expected) < 0 ||
               spool_hold(m->spool, strlen(m->envelope->sender)) < 0) {
        milter_message_refuse(m, &milter_message_busy);
    }
}

struct milter_message *
milter_message_new(struct transaction_services *services, struct spool_budget *budget,
                   guint64 size_limit, struct envelope *envelope, guint64 declared_size)
{
    struct milter_message *m = g_new0(struct milter_message, 1);
    m->envelope = envelope;
    m->budget = budget;
    if (!pool_ready(services->pool)) {
        milter_message_refuse(m, &not_ready);
    } else if (declared_size > size_limit) {
        milter_message_refuse(m, &too_large);
    } else {
        open_spool(m, size_limit, MAX(declared_size, MIN(MILTER_SMALL_MESSAGE, size_limit)));
    }
    return m;
}

void
milter_message_free(struct milter_message *m)
{
    if (m == NULL) {
        return;
    }
    envelope_free(m->envelope);
    spool_free(m->spool);
    spool_budget_give(m->budget, m->buffers);
    g_free(m);
}

static void
append(struct milter_message *m, const void *bytes, gsize len)
{
    m->size += len;
    if (m->refusal != NULL) {
        return;
    }
    int rc = spool_append(m->spool, bytes, len);
    if (rc == -ENOBUFS) {
        milter_message_refuse(m, &milter_message_busy);
    } else if (rc == -EFBIG) {
        milter_message_refuse(m, &too_large);
    } else if (rc < 0) {
        spool_failed(m, -rc);
    }
}

char *
milter_message_address(const char *raw)
{
    gsize len = strlen(raw);
    if (len >= 2 && raw[0] == '<' && raw[len - 1] == '>') {
        return g_strndup(raw + 1, len - 2);
    }
    return g_strdup(raw);
}

const struct refusal *
milter_message_add_recipient(struct milter_message *m, const char *recipient, char *parameters)
{
    g_autofree char *kept = parameters;
    gsize bytes = strlen(recipient) + RECIPIENT_OVERHEAD + (kept == NULL ? 0 : strlen(kept));
    if (m->refusal != NULL) {
        return NULL;
    }
    if (m->recipient_bytes + bytes > RECIPIENT_BYTES_MAX) {
        return &too_many_recipients;
    }
    if (spool_hold(m->spool, bytes) < 0) {
        return &milter_message_busy;
    }
    m->recipient_bytes += bytes;
    envelope_add_recipient(m->envelope, milter_message_address(recipient), g_steal_pointer(&kept));
    return NULL;
}

/* The first of its kind, for the log and the quarantine. */
static void
keep(char **slot, const struct milter_header *header)
{
    if (*slot == NULL) {
        *slot = g_strstrip(g_strndup(header->value, MIN(header->value_len, HEADER_KEPT_MAX)));
    }
}

/* The MTA separates the lines of a value by bare newlines. */
static void
append_lines(struct milter_message *m, const char *text, gsize len)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        gsize line = newline == NULL ? len : (gsize)(newline - text);
        bool has_return = newline != NULL && line > 0 && text[line - 1] == '\r';
        append(m, text, has_return ? line - 1 : line);
        if (newline != NULL) {
            append(m, "\r\n", 2);
            line++;
        }
        text += line;
        len -= line;
    }
}

static void
count_mark(struct milter_message *m, const char *name)
{
    for (int i = 0; i < MILTER_HEADERS; i++) {
        m->marks.count[i] += g_ascii_strcasecmp(name, mark_names[i]) == 0;
    }
}

void
milter_message_add_header(struct milter_message *m, const struct milter_header *header,
                          bool leadspc)
{
    if (g_ascii_strcasecmp(header->name, "Message-ID") == 0) {
        keep(&m->envelope->message_id, header);
    } else if (g_ascii_strcasecmp(header->name, "Subject") == 0) {
        keep(&m->envelope->subject, header);
    } else {
        count_mark(m, header->name);
    }
    append(m, header->name, strlen(header->name));
    append(m, ": ", leadspc ? 1 : 2);
    append_lines(m, header->value, header->value_len);
    append(m, "\r\n", 2);
}

void
milter_message_end_header(struct milter_message *m)
{
    append(m, "\r\n", 2);
    if (m->spool != NULL) {
        spool_body_begins(m->spool);
    }
}

void
milter_message_add_body(struct milter_message *m, const void *bytes, gsize len)
{
    append(m, bytes, len);
}

void
milter_message_seal(struct milter_message *m)
{
    guint marks = 0;
    for (int i = 0; i < MILTER_HEADERS; i++) {
        marks += m->marks.count[i];
    }
    if (marks > OUR_HEADERS_MAX) {
        milter_message_refuse(m, &too_many_headers);
    }
    int rc = m->refusal == NULL ? spool_seal(m->spool) : 0;
    if (rc < 0) {
        spool_failed(m, -rc);
    }
}

/* From the last to the first, so that the numbers stay true. */
static void
marks_remove(GByteArray *out, const struct milter_marks *marks)
{
    for (int i = 0; i < MILTER_HEADERS; i++) {
        for (guint n = marks->count[i]; n > 0; n--) {
            milter_encode_change_header(out, n, mark_names[i], "");
        }
    }
}

static void
mark_add(GByteArray *out, enum mark mark, const char *text, bool leadspc)
{
    if (text != NULL && *text != '\0') {
        g_autofree char *value = g_strconcat(leadspc ? " " : "", text, NULL);
        milter_encode_add_header(out, mark_names[mark], value);
    }
}

/* What is delivered in place of a replaced message was scanned too, and is clean. */
static void
marks_add(GByteArray *out, const struct decision *decision, bool leadspc)
{
    bool is_replaced = decision->action == ACTION_REPLACE;
    const char *verdict = verdict_name(is_replaced ? VERDICT_CLEAN : decision->verdict);
    mark_add(out, MARK_VERDICT, verdict, leadspc);
    if (decision->action != ACTION_ACCEPT) {
        mark_add(out, MARK_ACTION, action_name(decision->action), leadspc);
        mark_add(out, MARK_REASON, decision->reason, leadspc);
        mark_add(out, MARK_KEY, decision->key, leadspc);
    }
}

void
milter_message_answer(GByteArray *out, const struct milter_marks *marks,
                      const struct decision *decision, bool leadspc)
{
    if (decision->reply != NULL) {
        milter_encode_replycode(out, decision->reply);
    } else if (decision->action == ACTION_DISCARD) {
        milter_encode(out, SMFIR_DISCARD, NULL, 0);
    } else {
        marks_remove(out, marks);
        marks_add(out, decision, leadspc);
        if (decision->action != ACTION_REPLACE) {
            milter_encode(out, SMFIR_ACCEPT, NULL, 0);
        }
    }
}

/* Without a body of ours the MTA would deliver the one that it has. */
bool
milter_message_send_body(GByteArray *out, const struct spool *replacement, guint64 *at)
{
    g_autofree char *piece = g_malloc(BODY_PIECE);
    guint64 begin = spool_body_from(replacement);
    bool has_body = begin > 0 && begin < spool_size(replacement);
    *at = MAX(*at, begin);
    gsize left = (gsize)(spool_size(replacement) - *at);
    ssize_t n =
        left == 0 ? 0 : pread(spool_fd(replacement), piece, MIN(left, BODY_PIECE), (off_t)*at);
    if (has_body && n > 0) {
        milter_encode(out, SMFIR_REPLBODY, piece, (gsize)n);
        *at += (guint64)n;
        return true;
    }
    milter_encode(out, has_body && left == 0 ? SMFIR_ACCEPT : SMFIR_TEMPFAIL, NULL, 0);
    return false;
}

void
milter_message_log_refusal(const struct milter_message *m, struct counters *counters)
{
    struct message_line record = {
        .envelope = m->envelope,
        .size = m->size,
        .reason = m->refusal->reason,
        .action = m->refusal->reply[0] == '5' ? "reject" : "tempfail",
    };
    g_autofree char *line = message_line(&record);
    log_notice("%s", line);
    ++*(guint64 *)(void *)((char *)counters + m->refusal->counter);
}

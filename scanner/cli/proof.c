/* SPDX-License-Identifier: GPL-2.0-only */
#include "proof.h"

#include <string.h>

#include "proof-message.h"
#include "verdict-line.h"

#define DAEMON_TAG "posternd"
/* Lines of one moment may be out of order by this much (microseconds). */
#define DISORDER (10 * G_USEC_PER_SEC)
/* A crash takes the lines of what was under way; then systemd starts posternd anew. */
#define CRASH_WINDOW (120 * G_USEC_PER_SEC)

/* A process of Postfix could not speak to a milter. */
struct trouble {
    gint64 time;
    char *text;
};

struct proof {
    char *release;
    proof_report *report;
    void *data;
    GHashTable *newest;  /* id -> struct message *, a reference for each and for its olders */
    GQueue ages;         /* references, in the order of their begin */
    GQueue closing;      /* references, in the order of their end */
    GHashTable *trouble; /* pid -> struct trouble * */
    GArray *starts;      /* of gint64: when posternd began to serve */
    guint64 refused_temporary;
    guint64 refused_lasting;
};

static void
trouble_free(void *p)
{
    struct trouble *trouble = p;
    g_free(trouble->text);
    g_free(trouble);
}

static void
text_set(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

struct proof *
proof_new(const char *release, proof_report *report, void *data)
{
    struct proof *proof = g_new0(struct proof, 1);
    proof->release = g_strdup(release);
    proof->report = report;
    proof->data = data;
    proof->newest = g_hash_table_new(g_str_hash, g_str_equal);
    proof->trouble = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, trouble_free);
    proof->starts = g_array_new(FALSE, FALSE, sizeof(gint64));
    return proof;
}

void
proof_refusals(const struct proof *proof, guint64 *ret_temporary, guint64 *ret_lasting)
{
    *ret_temporary = proof->refused_temporary;
    *ret_lasting = proof->refused_lasting;
}

static struct message *
message_new(struct proof *proof, const char *id, gint64 time)
{
    struct message *m = g_new0(struct message, 1);
    g_strlcpy(m->id, id, sizeof m->id);
    m->begin = time;
    m->older = g_hash_table_lookup(proof->newest, id);
    g_hash_table_replace(proof->newest, m->id, message_ref(m));
    g_queue_push_tail(&proof->ages, message_ref(m));
    return m;
}

/* Takes M out of the table, from wherever it is among those with its id. */
static void
message_forget(struct proof *proof, struct message *m)
{
    struct message *newest = g_hash_table_lookup(proof->newest, m->id);
    if (newest == m && m->older == NULL) {
        g_hash_table_remove(proof->newest, m->id);
    } else if (newest == m) {
        g_hash_table_replace(proof->newest, m->older->id, m->older);
    } else {
        while (newest != NULL && newest->older != m) {
            newest = newest->older;
        }
        if (newest != NULL) {
            newest->older = m->older;
        }
    }
    message_unref(m);
}

static enum proof_state state_of(const struct proof *proof, const struct message *m, int depth);

static enum proof_state
state_without_verdict(const struct proof *proof, const struct message *m, int depth)
{
    if (m->parent != NULL && depth < PARENTS_MAX) {
        enum proof_state state = state_of(proof, m->parent, depth + 1);
        return state == PROOF_INTERNAL || state == PROOF_EARLIER || state == PROOF_RELEASED
                   ? state
                   : PROOF_UNRECORDED;
    }
    if (m->service != NULL && strstr(m->service, proof->release) != NULL) {
        return PROOF_RELEASED;
    }
    if (m->received || m->local) {
        return PROOF_UNRECORDED;
    }
    return m->cleaned || m->internal ? PROOF_INTERNAL : PROOF_EARLIER;
}

static enum proof_state
state_of(const struct proof *proof, const struct message *m, int depth)
{
    const struct message *judge = message_judged(m);
    enum proof_outcome outcome = message_outcome(m);
    if (outcome == PROOF_NOT_TAKEN) {
        return m->rejected || (m->verdict != NULL && message_is_refused(m)) ? PROOF_REFUSED
                                                                            : PROOF_GIVEN_UP;
    }
    if (judge == m && message_is_refused(m) && outcome != PROOF_DISCARDED) {
        return PROOF_CONTRARY;
    }
    if (judge != NULL) {
        return PROOF_RECORDED;
    }
    if (outcome == PROOF_DISCARDED && m->by_rule) {
        return PROOF_REFUSED;
    }
    return state_without_verdict(proof, m, depth);
}

static enum proof_cause
cause_of(const struct proof *proof, const struct message *m)
{
    if (m->hint != NULL) {
        return PROOF_BYPASSED;
    }
    gint64 until = (m->queued != 0 ? m->queued : m->begin) + CRASH_WINDOW;
    for (guint i = 0; i < proof->starts->len; i++) {
        gint64 start = g_array_index(proof->starts, gint64, i);
        if (start >= m->begin && start <= until) {
            return PROOF_CRASH;
        }
    }
    return PROOF_NOT_SEEN;
}

static void
message_report(struct proof *proof, struct message *m)
{
    const struct message *judge = message_judged(m);
    struct proof_message view = {
        .state = state_of(proof, m, 0),
        .outcome = message_outcome(m),
        .time = m->begin,
        .queue_id = m->id,
        .instance = m->instance,
        .message_id = m->message_id,
        .from = m->from,
        .source = m->source,
        .service = m->service,
        .verdict = judge == NULL ? NULL : judge->verdict,
        .action = judge == NULL ? NULL : judge->action,
        .parent = m->parent == NULL ? NULL : m->parent->id,
    };
    if (view.state == PROOF_UNRECORDED) {
        view.cause = cause_of(proof, m);
        view.hint = view.cause == PROOF_BYPASSED ? m->hint : NULL;
    }
    m->reported = TRUE;
    proof->report(&view, proof->data);
    message_forget(proof, m);
}

static void
message_close(struct proof *proof, struct message *m, gint64 time)
{
    if (m->closed == 0) {
        m->closed = time;
        g_queue_push_tail(&proof->closing, message_ref(m));
    }
}

/* Reports what ended long ago, and what its client left. */
static void
expire(struct proof *proof, gint64 now)
{
    struct message *m;
    while ((m = g_queue_peek_head(&proof->closing)) != NULL &&
           m->closed + (gint64)PROOF_GRACE * G_USEC_PER_SEC < now) {
        g_queue_pop_head(&proof->closing);
        if (!m->reported) {
            message_report(proof, m);
        }
        message_unref(m);
    }
    while ((m = g_queue_peek_head(&proof->ages)) != NULL &&
           m->begin + (gint64)PROOF_PATIENCE * G_USEC_PER_SEC < now) {
        g_queue_pop_head(&proof->ages);
        if (!m->reported && m->closed == 0 && message_outcome(m) == PROOF_NOT_TAKEN) {
            message_report(proof, m);
        }
        message_unref(m);
    }
}

/* What is known of it so far is Postern's line alone, from just now. */
static gboolean
is_expected(const struct message *m, gint64 now)
{
    return m != NULL && !m->received && !m->local && m->queued == 0 && m->closed == 0 &&
           now - m->begin < DISORDER;
}

/* The newest one with this id that INSTANCE may speak of; NULL = none. */
static struct message *
message_find(const struct proof *proof, const char *id, const char *instance)
{
    struct message *m = g_hash_table_lookup(proof->newest, id);
    while (m != NULL && m->instance != NULL && strcmp(m->instance, instance) != 0) {
        m = m->older;
    }
    return m;
}

/* Which message a line speaks of; a new one when those known have ended or began otherwise. */
static struct message *
message_of(struct proof *proof, const struct postfix_line *line, const char *instance, gint64 now)
{
    struct message *m = message_find(proof, line->queue_id, instance);
    gboolean fits = m != NULL;
    if (line->event == POSTFIX_RECEIVE || line->event == POSTFIX_LOCAL) {
        fits = is_expected(m, now);
    } else if (line->event == POSTFIX_ID) {
        fits = m != NULL && m->closed == 0 && !m->cleaned;
    } else if (line->event == POSTFIX_QUEUED) {
        fits = m != NULL && m->closed == 0;
    }
    return fits ? m : message_new(proof, line->queue_id, now);
}

static const struct trouble *
trouble_since(const struct proof *proof, guint64 pid, gint64 since)
{
    gint64 key = (gint64)pid;
    const struct trouble *trouble = pid == 0 ? NULL : g_hash_table_lookup(proof->trouble, &key);
    return trouble != NULL && trouble->time >= since ? trouble : NULL;
}

/* An smtpd's trouble is forgotten with each client, so what there is happened to this one. */
static void
on_queued(struct proof *proof, struct message *m, const struct postfix_line *line,
          const struct maillog_line *raw)
{
    if (m->queued == 0) {
        m->queued = raw->time;
        const struct trouble *trouble = trouble_since(proof, m->smtpd, 0);
        if (trouble == NULL) {
            trouble = trouble_since(proof, m->cleanup, m->begin - G_USEC_PER_SEC);
        }
        if (trouble != NULL) {
            text_set(&m->hint, trouble->text);
        }
    }
    text_set(&m->from, line->value);
}

static void
adopt(struct proof *proof, struct message *parent, const char *child, gboolean internal, gint64 now)
{
    struct message *m = g_hash_table_lookup(proof->newest, child);
    if (*child == '\0' || strcmp(child, parent->id) == 0) {
        return;
    }
    if (m == NULL) {
        m = message_new(proof, child, now);
    }
    if (internal) {
        m->internal = TRUE;
    } else if (m->parent == NULL && parent->parent != m) {
        m->parent = message_ref(parent);
    }
}

static void
on_delivery(struct proof *proof, struct message *m, const struct postfix_line *line,
            const struct maillog_line *raw)
{
    if (strcmp(line->value, "sent") == 0) {
        m->delivered = TRUE;
        adopt(proof, m, line->child, FALSE, raw->time);
    } else if (strcmp(line->value, "bounced") == 0 || strcmp(line->value, "expired") == 0) {
        m->bounced = TRUE;
    } else {
        m->deferred = TRUE;
    }
    if (m->queued == 0) {
        m->queued = raw->time;
    }
}

static void
on_begin(struct proof *proof, struct message *m, const struct postfix_line *line,
         const struct maillog_line *raw)
{
    m->received = line->event == POSTFIX_RECEIVE;
    m->local = !m->received;
    m->begin = MIN(m->begin, raw->time);
    m->smtpd = raw->pid;
    text_set(&m->source, line->value);
    text_set(&m->service, raw->tag);
    struct message *parent =
        line->parent[0] == '\0' ? NULL : g_hash_table_lookup(proof->newest, line->parent);
    if (parent != NULL && parent != m && m->parent == NULL) {
        m->parent = message_ref(parent);
    }
}

static void
on_id(struct proof *proof, struct message *m, const struct postfix_line *line,
      const struct maillog_line *raw)
{
    (void)proof;
    m->cleaned = TRUE;
    m->cleanup = raw->pid;
    text_set(&m->message_id, line->value);
}

static void
on_notice(struct proof *proof, struct message *m, const struct postfix_line *line,
          const struct maillog_line *raw)
{
    adopt(proof, m, line->child, TRUE, raw->time);
}

static void
on_hold(struct proof *proof, struct message *m, const struct postfix_line *line,
        const struct maillog_line *raw)
{
    (void)proof;
    (void)line;
    (void)raw;
    m->held = TRUE;
}

static void
on_end(struct proof *proof, struct message *m, const struct postfix_line *line,
       const struct maillog_line *raw)
{
    m->rejected |= line->event == POSTFIX_REJECT;
    m->requeued |= line->event == POSTFIX_REQUEUED;
    m->deleted |= line->event == POSTFIX_DELETED;
    if (line->event == POSTFIX_DISCARD) {
        m->discarded = TRUE;
        m->by_rule = !line->by_milter;
    }
    message_close(proof, m, raw->time);
}

/* What a line about a message does; the events without a handler are about none. */
typedef void event_handler(struct proof *proof, struct message *m, const struct postfix_line *line,
                           const struct maillog_line *raw);
static event_handler *const handlers[POSTFIX_EVENTS] = {
    [POSTFIX_RECEIVE] = on_begin, [POSTFIX_LOCAL] = on_begin,       [POSTFIX_ID] = on_id,
    [POSTFIX_QUEUED] = on_queued, [POSTFIX_DELIVERY] = on_delivery, [POSTFIX_NOTICE] = on_notice,
    [POSTFIX_REJECT] = on_end,    [POSTFIX_DISCARD] = on_end,       [POSTFIX_HOLD] = on_hold,
    [POSTFIX_REQUEUED] = on_end,  [POSTFIX_DELETED] = on_end,       [POSTFIX_REMOVED] = on_end,
};

static void
trouble_note(struct proof *proof, const struct postfix_line *line, const struct maillog_line *raw)
{
    gint64 *key = g_new(gint64, 1);
    *key = (gint64)raw->pid;
    if (line->event == POSTFIX_SESSION) {
        g_hash_table_remove(proof->trouble, key);
        g_free(key);
        return;
    }
    struct trouble *trouble = g_new0(struct trouble, 1);
    trouble->time = raw->time;
    trouble->text = g_strdup(line->value);
    g_hash_table_replace(proof->trouble, key, trouble);
}

static void
add_postfix(struct proof *proof, const char *daemon, const struct maillog_line *raw)
{
    struct postfix_line line;
    if (!postfix_line_parse(daemon, raw->text, &line)) {
        return;
    }
    if (line.event == POSTFIX_REFUSED) {
        if (line.by_milter) {
            *(line.temporary ? &proof->refused_temporary : &proof->refused_lasting) += 1;
        }
        return;
    }
    if (line.queue_id[0] == '\0') {
        trouble_note(proof, &line, raw);
        return;
    }
    g_autofree char *instance = g_strndup(raw->tag, strcspn(raw->tag, "/"));
    struct message *m = message_of(proof, &line, instance, raw->time);
    /* An smtpd's name may be set for its service alone. */
    if (m->instance == NULL && strcmp(daemon, "smtpd") != 0) {
        m->instance = g_steal_pointer(&instance);
    }
    if (handlers[line.event] != NULL) {
        handlers[line.event](proof, m, &line, raw);
    }
}

static gboolean
same_id(const struct message *m, const char *message_id)
{
    return m->message_id == NULL || message_id == NULL || strcmp(m->message_id, message_id) == 0;
}

/* posternd's line escapes and cuts what Postfix prints as it is; then the ids cannot be compared.
 */
static char *
comparable_id(const char *text)
{
    g_autofree char *id = verdict_line_field(text, "message-id");
    gboolean plain = id != NULL && strchr(id, '\\') == NULL && !g_str_has_suffix(id, "...");
    return plain ? g_steal_pointer(&id) : NULL;
}

static void
add_verdict(struct proof *proof, const char *id, const char *text, gint64 now)
{
    g_autofree char *message_id = comparable_id(text);
    g_autofree char *verdict = verdict_line_field(text, "verdict");
    g_autofree char *action = verdict_line_field(text, "action");
    if (action == NULL) {
        return;
    }
    struct message *m = g_hash_table_lookup(proof->newest, id);
    while (m != NULL && (m->verdict != NULL || !same_id(m, message_id))) {
        m = m->older;
    }
    if (m == NULL) {
        m = message_new(proof, id, now);
    }
    m->verdict = verdict != NULL ? g_steal_pointer(&verdict) : g_strdup("none");
    m->action = g_steal_pointer(&action);
}

/* In syslog and the journal the level stands before the text: "[info] 4ABCDE: ..." (log.c). */
static const char *
without_level(const char *text)
{
    size_t length = *text == '[' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
    return length > 0 && g_str_has_prefix(text + 1 + length, "] ") ? text + length + 3 : text;
}

static void
add_postern(struct proof *proof, const struct maillog_line *raw)
{
    char id[QUEUE_ID_MAX];
    const char *text = without_level(raw->text);
    const char *rest = queue_id_parse(text, id);
    if (rest != NULL) {
        add_verdict(proof, id, rest, raw->time);
    } else if (g_str_has_prefix(text, DAEMON_TAG " ") && g_str_has_suffix(text, " serves")) {
        g_array_append_val(proof->starts, raw->time);
    }
}

void
proof_add(struct proof *proof, const struct maillog_line *line)
{
    const char *slash = strrchr(line->tag, '/');
    expire(proof, line->time);
    if (strcmp(line->tag, DAEMON_TAG) == 0) {
        add_postern(proof, line);
    } else if (slash != NULL) {
        add_postfix(proof, slash + 1, line);
    }
}

static gint
by_begin(const void *a, const void *b)
{
    const struct message *x = *(struct message *const *)a;
    const struct message *y = *(struct message *const *)b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void
proof_end(struct proof *proof)
{
    g_autoptr(GPtrArray) left = g_ptr_array_new();
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, proof->newest);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        for (struct message *m = value; m != NULL; m = m->older) {
            g_ptr_array_add(left, m);
        }
    }
    g_ptr_array_sort(left, by_begin);
    for (guint i = 0; i < left->len; i++) {
        message_report(proof, g_ptr_array_index(left, i));
    }
    g_queue_clear_full(&proof->ages, (GDestroyNotify)message_unref);
    g_queue_clear_full(&proof->closing, (GDestroyNotify)message_unref);
    g_hash_table_unref(proof->newest);
    g_hash_table_unref(proof->trouble);
    g_array_unref(proof->starts);
    g_free(proof->release);
    g_free(proof);
}

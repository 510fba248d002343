/* SPDX-License-Identifier: GPL-2.0-only */
#include "transaction.h"

#include <errno.h>
#include <string.h>

#include "counters.h"
#include "log.h"
#include "message-line.h"
#include "quarantine.h"
#include "text.h"

/* Each step has one function, step_NAME; the order is that of a message's life. */
#define TRANSACTION_STEPS(STEP) \
    STEP(SCAN, scan)            \
    STEP(DECIDE, decide)        \
    STEP(STORE, store)          \
    STEP(REPLY, reply)

enum step {
#define STEP(upper, lower) STEP_##upper,
    TRANSACTION_STEPS(STEP)
#undef STEP
};

enum progress {
    MORE, /* go on with the next step */
    WAIT, /* suspended: the step's callback goes on */
    DONE, /* the transaction is over and freed */
};

struct transaction {
    struct transaction_services *services;
    struct envelope *envelope;
    struct spool *spool;
    transaction_reply *reply; /* NULL: abandoned while the disk wrote */
    void *data;
    enum step step;
    struct scan *scan;
    const struct scan_outcome *outcome; /* valid in DECIDE only */
    struct facts *facts;                /* what goes with a kept copy */
    struct decision decision;
    gint64 begin_us;
    gint64 scan_us;
    gint64 store_us;
};

static void run(struct transaction *t);

static void
transaction_free(struct transaction *t)
{
    envelope_free(t->envelope);
    spool_free(t->spool);
    facts_free(t->facts);
    decision_clear(&t->decision);
    g_free(t);
}

static void
log_end(const struct transaction *t, const char *verdict, const char *action)
{
    struct message_line record = {
        .envelope = t->envelope,
        .size = spool_size(t->spool),
        .verdict = verdict,
        .reason = t->decision.reason,
        .action = action,
        .scan_us = (guint64)t->scan_us,
        .store_us = (guint64)t->store_us,
        .total_us = (guint64)(g_get_monotonic_time() - t->begin_us),
    };
    g_autofree char *line = message_line(&record);
    if (t->decision.action <= ACTION_TAG) {
        log_info("%s", line);
    } else {
        log_notice("%s", line);
    }
}

static void
count_end(const struct transaction *t)
{
    struct counters *c = t->services->counters;
    guint64 *const verdicts[] = {
        [VERDICT_CLEAN] = &c->clean,
        [VERDICT_INFECTED] = &c->infected,
        [VERDICT_UNSCANNED] = &c->unscanned,
        [VERDICT_ERROR] = &c->errors,
    };
    guint64 *const actions[] = {
        [ACTION_ACCEPT] = &c->accepted,        [ACTION_TAG] = &c->tagged,
        [ACTION_REPLACE] = &c->replaced,       [ACTION_DISCARD] = &c->discarded,
        [ACTION_QUARANTINE] = &c->quarantined, [ACTION_REJECT] = &c->rejected,
        [ACTION_TEMPFAIL] = &c->tempfailed,
    };
    ++*verdicts[t->decision.verdict];
    ++*actions[t->decision.action];
}

/* The outcome's facts are only lent, but the storage thread needs them later. */
static struct facts *
facts_copy(const struct facts *facts)
{
    json_t *json = facts_to_json(facts);
    struct facts *copy = facts_from_json(json);
    json_decref(json);
    return copy;
}

static void
on_scanned(void *data, const struct scan_outcome *outcome)
{
    struct transaction *t = data;
    t->scan = NULL;
    t->outcome = outcome;
    t->scan_us = g_get_monotonic_time() - t->begin_us;
    t->step = STEP_DECIDE;
    run(t);
}

static enum progress
step_scan(struct transaction *t)
{
    t->scan = pool_scan(t->services->pool, spool_fd(t->spool), on_scanned, t);
    return WAIT;
}

static enum progress
step_decide(struct transaction *t)
{
    const struct scan_outcome *outcome = g_steal_pointer(&t->outcome);
    policy_decide_mail(t->services->settings, t->envelope, outcome->facts, outcome->error,
                       &t->decision);
    if (t->decision.action == ACTION_REPLACE) {
        policy_replace_failed(&t->decision, "cannot be replaced");
    }
    t->step = STEP_REPLY;
    if (policy_keeps(t->decision.action)) {
        t->facts = outcome->facts != NULL ? facts_copy(outcome->facts) : NULL;
        t->step = STEP_STORE;
    }
    return MORE;
}

/* In the storage thread; the loop leaves all that is read here alone meanwhile. */
static int
store_work(struct state *state, void *data)
{
    const struct transaction *t = data;
    struct quarantine_entry entry = {
        .envelope = t->envelope,
        .facts = t->facts,
        .decision = &t->decision,
        .body_hash = spool_body_hash(t->spool),
        .fd = spool_fd(t->spool),
    };
    return quarantine_store(state, &entry);
}

static void
on_stored(void *data, int result)
{
    struct transaction *t = data;
    t->store_us = g_get_monotonic_time() - t->store_us;
    if (result < 0) {
        g_autofree char *id = text_escape(t->envelope->queue_id, 40);
        log_err("%s: the message could not be kept in the quarantine: %s", id, strerror(-result));
        policy_store_failed(&t->decision, result == -ENOSPC || result == -EDQUOT);
        g_assert(t->decision.action >= ACTION_REJECT);
    }
    t->step = STEP_REPLY;
    run(t);
}

static enum progress
step_store(struct transaction *t)
{
    t->store_us = g_get_monotonic_time();
    storage_submit(t->services->storage, store_work, on_stored, t);
    return WAIT;
}

static enum progress
step_reply(struct transaction *t)
{
    if (t->reply != NULL) {
        t->reply(t->data, &t->decision);
    }
    count_end(t);
    log_end(t, verdict_name(t->decision.verdict), action_name(t->decision.action));
    transaction_free(t);
    return DONE;
}

static void
run(struct transaction *t)
{
    static enum progress (*const steps[])(struct transaction *) = {
#define STEP(upper, lower) step_##lower,
        TRANSACTION_STEPS(STEP)
#undef STEP
    };
    while (steps[t->step](t) == MORE) {
    }
}

struct transaction *
transaction_start(struct transaction_services *services, struct envelope *envelope,
                  struct spool *spool, transaction_reply *reply, void *data)
{
    struct transaction *t = g_new0(struct transaction, 1);
    t->services = services;
    t->envelope = envelope;
    t->spool = spool;
    t->reply = reply;
    t->data = data;
    t->begin_us = g_get_monotonic_time();
    t->step = STEP_SCAN;
    services->counters->messages++;
    run(t);
    return t;
}

void
transaction_abandon(struct transaction *t)
{
    if (t == NULL) {
        return;
    }
    t->services->counters->abandoned++;
    if (t->step == STEP_STORE) {
        t->reply = NULL;
        return;
    }
    scan_cancel(t->scan);
    t->decision.action = ACTION_TEMPFAIL;
    log_end(t, NULL, "abandoned");
    transaction_free(t);
}

gboolean
transaction_is_storing(const struct transaction *t)
{
    return t != NULL && t->step == STEP_STORE;
}

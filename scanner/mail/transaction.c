/* SPDX-License-Identifier: GPL-2.0-only */
#include "transaction.h"

#include <errno.h>
#include <string.h>

#include "counters.h"
#include "log.h"
#include "message-line.h"
#include "quarantine.h"
#include "replace.h"
#include "text.h"

/* Each step has one function, step_NAME; the order is that of a message's life. */
#define TRANSACTION_STEPS(STEP) \
    STEP(SCAN, scan)            \
    STEP(DECIDE, decide)        \
    STEP(STRIKE, strike)        \
    STEP(RESCAN, rescan)        \
    STEP(JUDGE, judge)          \
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
    const struct scan_outcome *outcome; /* valid in DECIDE and JUDGE only */
    struct facts *facts;                /* what goes with a kept copy */
    struct decision decision;
    int store_error;           /* 0, or why there is no copy */
    gint64 worker;             /* that has scanned the message */
    struct spool *replacement; /* the message without the parts at fault */
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
    spool_free(t->replacement);
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
        .rule = t->decision.rule,
        .key = t->decision.key,
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
    c->end_to_end += t->decision.end_to_end;
    ++*verdicts[t->decision.verdict];
    ++*actions[t->decision.action];
}

static void
ledger_end(const struct transaction *t)
{
    const struct ledger_message message = {.envelope = t->envelope,
                                           .verdict = t->decision.verdict,
                                           .action = action_name(t->decision.action),
                                           .reason = t->decision.reason,
                                           .size = spool_size(t->spool),
                                           .store_error = t->store_error};
    ledger_message(t->services->ledger, &message);
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

static guint64
strikes_of(const struct transaction *t)
{
    struct strikes *strikes = t->services->strikes;
    guint64 n =
        strikes == NULL ? 0 : strikes_count(strikes, spool_body_hash(t->spool), spool_fd(t->spool));
    return n > 0 && strikes_are_enough(strikes, n) ? n : 0;
}

static void
poison(struct transaction *t, guint64 strikes)
{
    decision_clear(&t->decision);
    policy_decide_poison(strikes, &t->decision);
    t->services->counters->poisoned++;
    t->step = STEP_STORE;
}

static enum progress
step_scan(struct transaction *t)
{
    guint64 strikes = strikes_of(t);
    if (strikes > 0) {
        poison(t, strikes);
        return MORE;
    }
    t->scan = pool_scan(t->services->pool, spool_fd(t->spool), on_scanned, t);
    return WAIT;
}

/* The decision stays, or becomes another where the message cannot be cut. */
static void
replace(struct transaction *t, const struct facts *facts)
{
    const char *why = NULL;
    g_autofree char *key = quarantine_key(t->envelope, spool_body_hash(t->spool));
    const struct replace_job job = {.original = t->spool,
                                    .facts = facts,
                                    .situations = t->decision.replacing,
                                    .key = key,
                                    .budget = t->services->budget,
                                    .size_limit = G_MAXINT64};
    int rc = replace_make(&job, &t->replacement, &why);
    if (rc == 0) {
        t->decision.key = g_steal_pointer(&key);
    } else if (rc == -ENODATA) {
        t->services->counters->emptied++;
        policy_emptied(t->services->settings, t->envelope, &t->decision);
    } else if (rc == -EBADMSG) {
        policy_replace_failed(&t->decision, why);
    } else {
        log_err("a message could not be written anew: %s", strerror(-rc));
        policy_store_failed(&t->decision, false);
    }
}

static enum step
step_after(const struct decision *decision)
{
    return policy_keeps(decision->action) ? STEP_STORE : STEP_REPLY;
}

static void
judge_age(struct transaction *t)
{
    const struct settings *settings = t->services->settings;
    guint64 limit = settings == NULL ? 0 : settings->age_unsafe;
    guint64 age = limit == 0 ? 0 : pool_signatures_age(t->services->pool);
    if (age > limit) {
        policy_old(settings, t->envelope, age, &t->decision);
    }
}

static enum progress
step_decide(struct transaction *t)
{
    const struct scan_outcome *outcome = g_steal_pointer(&t->outcome);
    policy_decide_mail(t->services->settings, t->envelope, outcome->facts, outcome->error,
                       &t->decision);
    t->worker = outcome->worker;
    judge_age(t);
    if (t->decision.action == ACTION_REPLACE) {
        replace(t, outcome->facts);
    }
    if (policy_keeps(t->decision.action)) {
        t->facts = outcome->facts != NULL ? facts_copy(outcome->facts) : NULL;
    }
    if (outcome->lost && t->services->strikes != NULL) {
        t->step = STEP_STRIKE;
    } else {
        t->step = t->replacement != NULL ? STEP_RESCAN : step_after(&t->decision);
    }
    return MORE;
}

static void
on_rescanned(void *data, const struct scan_outcome *outcome)
{
    struct transaction *t = data;
    t->scan = NULL;
    t->outcome = outcome;
    t->scan_us = g_get_monotonic_time() - t->begin_us;
    t->step = STEP_JUDGE;
    run(t);
}

static enum progress
step_rescan(struct transaction *t)
{
    t->scan = pool_scan_by_another(t->services->pool, spool_fd(t->replacement), t->worker,
                                   on_rescanned, t);
    return WAIT;
}

/* Only what is clean is delivered; what nobody can say now is asked again with the next attempt. */
static enum progress
step_judge(struct transaction *t)
{
    const struct scan_outcome *outcome = g_steal_pointer(&t->outcome);
    struct decision second;
    policy_decide_mail(t->services->settings, t->envelope, outcome->facts, outcome->error, &second);
    bool is_good = second.verdict == VERDICT_CLEAN && second.action <= ACTION_TAG;
    if (!is_good) {
        g_clear_pointer(&t->replacement, spool_free);
    }
    if (second.verdict == VERDICT_ERROR && !outcome->lost) {
        policy_store_failed(&t->decision, false);
    } else if (!is_good) {
        policy_replace_failed(&t->decision, "the rest is not clean either");
    }
    decision_clear(&second);
    t->step = step_after(&t->decision);
    return MORE;
}

static void
log_strike(const struct transaction *t, guint64 count, bool is_poison)
{
    g_autofree char *id = text_escape(t->envelope->queue_id, 40);
    g_autofree char *message_id = text_escape(t->envelope->message_id, 160);
    if (is_poison) {
        log_alert("%s: message-id=%s has crashed the scanner %" G_GUINT64_FORMAT
                  " times: it is quarantined and not scanned again; please report it",
                  id, message_id, count);
    } else {
        log_warning("%s: message-id=%s cost two workers: strike %" G_GUINT64_FORMAT, id, message_id,
                    count);
    }
}

static void
record_strike(const struct transaction *t, guint64 count)
{
    const struct envelope *e = t->envelope;
    g_autofree char *detail = g_strdup_printf("strike %" G_GUINT64_FORMAT, count);
    const struct incident incident = {.kind = INCIDENT_STRIKE,
                                      .queue_id = e->queue_id,
                                      .sender = e->sender,
                                      .client = e->client_addr,
                                      .uid = INCIDENT_NOBODY,
                                      .detail = detail};
    ledger_incident(t->services->ledger, &incident);
}

static void
on_struck(void *data, int result, guint64 count)
{
    struct transaction *t = data;
    t->step = step_after(&t->decision);
    t->services->counters->struck++;
    if (result < 0) {
        g_autofree char *id = text_escape(t->envelope->queue_id, 40);
        log_err("%s: a strike could not be recorded: %s", id, strerror(-result));
    } else {
        bool is_poison = strikes_are_enough(t->services->strikes, count);
        log_strike(t, count, is_poison);
        record_strike(t, count);
        if (is_poison) {
            poison(t, count);
        }
    }
    run(t);
}

/* Not the next attempt but this answer waits for it: a crash must not forget the strike. */
static enum progress
step_strike(struct transaction *t)
{
    t->store_us = g_get_monotonic_time();
    strikes_add(t->services->strikes, spool_body_hash(t->spool), spool_fd(t->spool), on_struck, t);
    return WAIT;
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
        t->store_error = result;
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
    if (t->decision.key == NULL) {
        t->decision.key = quarantine_key(t->envelope, spool_body_hash(t->spool));
    }
    storage_submit(t->services->storage, store_work, on_stored, t);
    return WAIT;
}

static enum progress
step_reply(struct transaction *t)
{
    g_assert(t->decision.action != ACTION_REPLACE || t->replacement != NULL);
    if (t->reply != NULL) {
        t->reply(t->data, &t->decision);
    }
    count_end(t);
    ledger_end(t);
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
    if (transaction_is_storing(t)) {
        t->reply = NULL;
        return;
    }
    scan_cancel(t->scan);
    t->decision.action = ACTION_TEMPFAIL;
    log_end(t, NULL, "abandoned");
    transaction_free(t);
}

struct spool *
transaction_take_replacement(struct transaction *t)
{
    return g_steal_pointer(&t->replacement);
}

gboolean
transaction_is_storing(const struct transaction *t)
{
    return t != NULL && (t->step == STEP_STORE || t->step == STEP_STRIKE);
}

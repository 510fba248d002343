/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a message, between a pool, a storage thread and a quarantine that the test plays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "counters.h"
#include "quarantine.h"
#include "replace.h"
#include "transaction.h"

static struct {
    scan_done *scan_done;
    void *scan_data;
    bool scan_cancelled;
    storage_work *work;
    storage_done *stored;
    void *store_data;
    int store_result;
    int store_error; /* as it reached the ledger */
    char *kept_reason;
    guint kept_detections;
    gint64 not_by;
    int replace_result;
    struct spool *replacement;
    struct transaction *transaction;
    guint64 strikes;
    guint64 age; /* of the signatures */
    int incidents;
    strikes_done *struck;
    void *strike_data;
    char *replied; /* "accept" or the reply */
    int replies;
} fake;

struct scan *
pool_scan(struct pool *pool, int fd, scan_done *done, void *data)
{
    (void)pool;
    assert_true(fd >= 0);
    fake.scan_done = done;
    fake.scan_data = data;
    return (struct scan *)(void *)&fake;
}

struct scan *
pool_scan_by_another(struct pool *pool, int fd, gint64 worker, scan_done *done, void *data)
{
    fake.not_by = worker;
    return pool_scan(pool, fd, done, data);
}

guint64
pool_signatures_age(const struct pool *pool)
{
    (void)pool;
    return fake.age;
}

char *
quarantine_key(const struct envelope *envelope, const char *body_hash)
{
    assert_non_null(envelope);
    assert_int_equal(strlen(body_hash), 64);
    return g_strdup("KEY");
}

int
replace_make(const struct replace_job *job, struct spool **ret_new, const char **why_r)
{
    assert_string_equal(job->key, "KEY");
    assert_int_equal(job->situations, 1U << ON_INFECTED);
    *why_r = "why not";
    if (fake.replace_result == 0) {
        *ret_new = spool_new(job->budget, 1000);
        assert_int_equal(spool_append(*ret_new, "new", 3), 0);
        assert_int_equal(spool_seal(*ret_new), 0);
    }
    return fake.replace_result;
}

void
scan_cancel(struct scan *scan)
{
    assert_ptr_equal(scan, &fake);
    fake.scan_cancelled = true;
}

void
storage_submit(struct storage *storage, storage_work *work, storage_done *done, void *data)
{
    (void)storage;
    fake.work = work;
    fake.stored = done;
    fake.store_data = data;
}

void
ledger_message(struct ledger *ledger, const struct ledger_message *message)
{
    (void)ledger;
    fake.store_error = message->store_error;
    assert_non_null(message->action);
    assert_true(message->size > 0);
}

int
quarantine_store(struct state *state, const struct quarantine_entry *entry)
{
    (void)state;
    fake.kept_reason = g_strdup(entry->decision->reason);
    fake.kept_detections = entry->facts == NULL ? 0 : entry->facts->detections->len;
    assert_int_equal(strlen(entry->body_hash), 64);
    assert_true(entry->fd >= 0);
    return fake.store_result;
}

guint64
strikes_count(const struct strikes *strikes, const char *body_hash, int fd)
{
    (void)strikes;
    assert_true(fd >= 0 && strlen(body_hash) == 64);
    return fake.strikes;
}

gboolean
strikes_are_enough(const struct strikes *strikes, guint64 count)
{
    (void)strikes;
    return count >= 3;
}

void
strikes_add(struct strikes *strikes, const char *body_hash, int fd, strikes_done *done, void *data)
{
    (void)strikes;
    assert_true(fd >= 0 && strlen(body_hash) == 64);
    fake.struck = done;
    fake.strike_data = data;
}

void
ledger_incident(struct ledger *ledger, const struct incident *incident)
{
    (void)ledger;
    assert_int_equal(incident->kind, INCIDENT_STRIKE);
    fake.incidents++;
}

static struct counters counters;
static struct spool_budget budget = {.limit = 1000};
static int any_strikes;
static struct transaction_services services = {
    .counters = &counters, .budget = &budget, .strikes = (struct strikes *)(void *)&any_strikes};

static void
on_reply(void *data, const struct decision *decision)
{
    assert_ptr_equal(data, &services);
    fake.replies++;
    if (decision->action == ACTION_REPLACE) {
        assert_string_equal(decision->key, "KEY");
        fake.replacement = transaction_take_replacement(fake.transaction);
        assert_int_equal(spool_size(fake.replacement), 3);
        spool_free(fake.replacement);
    }
    fake.replied = g_strdup(decision->reply != NULL ? decision->reply : "accept");
}

static struct transaction *
start(void)
{
    struct envelope *envelope = envelope_new();
    struct spool *spool = spool_new(&budget, 1000);
    envelope->sender = g_strdup("a@example.org");
    assert_int_equal(spool_append(spool, "x", 1), 0);
    assert_int_equal(spool_seal(spool), 0);
    fake.transaction = transaction_start(&services, envelope, spool, on_reply, &services);
    return fake.transaction;
}

static void
scanned(const struct facts *facts, const char *error)
{
    struct scan_outcome outcome = {.facts = facts, .error = error, .worker = 7};
    fake.scan_done(fake.scan_data, &outcome);
}

static void
lost(void)
{
    struct scan_outcome outcome = {.error = "two workers were lost over it", .lost = true};
    fake.scan_done(fake.scan_data, &outcome);
}

static void
not_ready(void)
{
    scanned(NULL, "the scan engine is not ready");
}

/* The facts live no longer than the pool's call. */
static void
scanned_infected(void)
{
    struct facts *facts = facts_new();
    facts->complete = true;
    facts_add_detection(facts, "Eicar-Test-Signature");
    scanned(facts, NULL);
    facts_free(facts);
}

static void
store(int result)
{
    fake.store_result = result;
    assert_non_null(fake.work);
    fake.stored(fake.store_data, fake.work(NULL, fake.store_data));
}

static int
setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(&counters, 0, sizeof counters);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    g_free(fake.replied);
    g_free(fake.kept_reason);
    return budget.used == 0 ? 0 : -1; /* every spool was freed */
}

static void
test_clean(void **state)
{
    (void)state;
    struct facts *facts = facts_new();
    facts->complete = true;
    assert_non_null(start());
    assert_int_equal(fake.replies, 0);
    scanned(facts, NULL);
    facts_free(facts);
    assert_int_equal(fake.replies, 1);
    assert_string_equal(fake.replied, "accept");
    assert_null(fake.work); /* clean mail needs no disk */
    assert_int_equal(counters.clean, 1);
    assert_int_equal(counters.accepted, 1);
}

static void
test_infected_is_kept_before_the_reply(void **state)
{
    (void)state;
    struct transaction *t = start();
    assert_false(transaction_is_storing(t));
    scanned_infected();
    assert_true(transaction_is_storing(t));
    assert_int_equal(fake.replies, 0);
    store(0);
    assert_int_equal(fake.replies, 1);
    assert_int_equal(fake.kept_detections, 1);
    assert_string_equal(fake.kept_reason, "Eicar-Test-Signature");
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_int_equal(counters.infected, 1);
    assert_int_equal(counters.quarantined, 1);
}

static void
test_unscanned_is_kept(void **state)
{
    (void)state;
    struct facts *facts = facts_new();
    facts->complete = true;
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "ZIP", "1.2");
    (void)start();
    scanned(facts, NULL);
    facts_free(facts);
    store(0);
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_int_equal(counters.unscanned, 1);
    assert_int_equal(counters.quarantined, 1);
}

static void
test_no_facts(void **state)
{
    (void)state;
    (void)start();
    scanned(NULL, "two workers were lost");
    assert_null(fake.work);
    assert_memory_equal(fake.replied, "451 4.", 6);
    assert_int_equal(counters.errors, 1);
    assert_int_equal(counters.tempfailed, 1);
    assert_int_equal(counters.accepted, 0);
}

static void
test_incomplete_scan(void **state)
{
    (void)state;
    struct facts *facts = facts_new();
    (void)start();
    scanned(facts, NULL);
    facts_free(facts);
    assert_memory_equal(fake.replied, "451 4.", 6);
}

static void
test_store_fails(void **state)
{
    (void)state;
    (void)start();
    scanned_infected();
    store(-EIO);
    assert_memory_equal(fake.replied, "451 4.", 6);
    assert_int_equal(counters.tempfailed, 1);
    assert_int_equal(counters.quarantined, 0);
}

static void
test_state_full(void **state)
{
    (void)state;
    (void)start();
    scanned_infected();
    store(-ENOSPC);
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_int_equal(counters.rejected, 1);
    assert_int_equal(counters.quarantined, 0);
}

static void
test_abandoned_while_scanning(void **state)
{
    (void)state;
    transaction_abandon(start());
    assert_true(fake.scan_cancelled);
    assert_int_equal(fake.replies, 0);
    assert_int_equal(counters.abandoned, 1);
    transaction_abandon(NULL);
}

static void
test_abandoned_while_storing(void **state)
{
    (void)state;
    struct transaction *t = start();
    scanned_infected();
    transaction_abandon(t);
    assert_false(fake.scan_cancelled);
    store(0); /* the copy is completed */
    assert_int_equal(fake.replies, 0);
    assert_int_equal(counters.abandoned, 1);
    assert_int_equal(counters.quarantined, 1);
}

/* A message that took two workers down: 451, but not before the strike is on disk. */
static void
test_strike(void **state)
{
    (void)state;
    struct transaction *t = start();
    lost();
    assert_non_null(fake.struck);
    assert_true(transaction_is_storing(t));
    assert_int_equal(fake.replies, 0);
    fake.struck(fake.strike_data, 0, 2);
    assert_memory_equal(fake.replied, "451 4.", 6);
    assert_int_equal(counters.struck, 1);
    assert_int_equal(fake.incidents, 1);
    assert_int_equal(counters.tempfailed, 1);
    assert_null(fake.work);
}

/* on_error = quarantine: 550 is no answer without a copy, first strike or not. */
static void
test_strike_of_what_is_kept(void **state)
{
    struct settings settings = {.on_error = ACTION_QUARANTINE};
    (void)state;
    services.settings = &settings;
    (void)start();
    lost();
    fake.struck(fake.strike_data, 0, 1);
    assert_int_equal(fake.replies, 0);
    store(0);
    services.settings = NULL;
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_int_equal(counters.struck, 1);
    assert_int_equal(counters.quarantined, 1);
}

static void
test_third_strike(void **state)
{
    (void)state;
    (void)start();
    lost();
    fake.struck(fake.strike_data, 0, 3);
    assert_int_equal(fake.replies, 0);
    store(0);
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_string_equal(fake.kept_reason, "crashes the scanner: 3 times");
    assert_int_equal(counters.poisoned, 1);
    assert_int_equal(counters.quarantined, 1);
}

static void
test_poison_is_known(void **state)
{
    (void)state;
    fake.strikes = 3;
    (void)start();
    assert_null(fake.scan_done); /* no worker is spent on it */
    store(0);
    assert_memory_equal(fake.replied, "550 5.7.1 ", 10);
    assert_int_equal(counters.poisoned, 1);
}

static void
test_strike_fails(void **state)
{
    (void)state;
    (void)start();
    lost();
    fake.struck(fake.strike_data, -ENOSPC, 0);
    assert_memory_equal(fake.replied, "451 4.", 6);
}

static void
test_abandoned_while_striking(void **state)
{
    (void)state;
    struct transaction *t = start();
    lost();
    transaction_abandon(t);
    fake.struck(fake.strike_data, 0, 1);
    assert_int_equal(fake.replies, 0);
}

/* Discarded: 250, but only once the copy is durable; else the sender keeps it. */
static void
test_discard(void **state)
{
    struct settings settings = {.on_infected = ACTION_DISCARD};
    (void)state;
    services.settings = &settings;
    (void)start();
    scanned_infected();
    assert_int_equal(fake.replies, 0);
    store(0);
    assert_string_equal(fake.replied, "accept");
    assert_int_equal(counters.discarded, 1);
    (void)start();
    scanned_infected();
    g_clear_pointer(&fake.replied, g_free);
    g_clear_pointer(&fake.kept_reason, g_free);
    store(-ENOSPC);
    services.settings = NULL;
    assert_memory_equal(fake.replied, "451 4.", 6);
    assert_int_equal(counters.tempfailed, 1);
}

static void
scanned_clean(void)
{
    struct facts *facts = facts_new();
    facts->complete = true;
    scanned(facts, NULL);
    facts_free(facts);
}

/* A message is to be replaced; then what the second scan says, and the disk. */
static const struct {
    int result; /* of making the new message */
    void (*second)(void);
    int store; /* of keeping the original; 1 = not asked for */
    enum action action;
    const char *replied;
} replacements[] = {
    {.second = scanned_clean, .action = ACTION_REPLACE, .replied = "accept"},
    {.second = scanned_clean, .store = -ENOSPC, .action = ACTION_TEMPFAIL, .replied = "451 4."},
    {.second = scanned_infected, .action = ACTION_QUARANTINE, .replied = "550 5.7.1 "},
    {.second = lost, .action = ACTION_QUARANTINE, .replied = "550 5.7.1 "},
    {.second = not_ready, .store = 1, .action = ACTION_TEMPFAIL, .replied = "451 4."},
    {.result = -EBADMSG, .action = ACTION_QUARANTINE, .replied = "550 5.7.1 "},
    {.result = -ENODATA, .action = ACTION_DISCARD, .replied = "accept"},
    {.result = -ENOBUFS, .store = 1, .action = ACTION_TEMPFAIL, .replied = "451 4."},
};

static void
check_replacement(size_t i)
{
    fake.replace_result = replacements[i].result;
    (void)start();
    scanned_infected();
    if (replacements[i].second != NULL) {
        assert_int_equal(fake.not_by, 7);
        assert_null(fake.work); /* what is done is known first, then it is written down */
        replacements[i].second();
    }
    if (replacements[i].store != 1) {
        assert_int_equal(fake.replies, 0);
        store(replacements[i].store);
    }
    assert_int_equal(fake.replies, 1);
    assert_memory_equal(fake.replied, replacements[i].replied, strlen(replacements[i].replied));
    assert_int_equal(budget.used, 0);
}

static void
test_replace(void **state)
{
    const struct settings settings = {
        .on_infected = ACTION_REPLACE, .on_error = ACTION_TEMPFAIL, .on_emptied = ACTION_DISCARD};
    services.settings = &settings;
    for (size_t i = 0; i < G_N_ELEMENTS(replacements); i++) {
        guint64 *const counts[] = {
            [ACTION_REPLACE] = &counters.replaced,
            [ACTION_DISCARD] = &counters.discarded,
            [ACTION_QUARANTINE] = &counters.quarantined,
            [ACTION_TEMPFAIL] = &counters.tempfailed,
        };
        (void)setup(state);
        check_replacement(i);
        assert_int_equal(*counts[replacements[i].action], 1);
        g_clear_pointer(&fake.replied, g_free);
        g_clear_pointer(&fake.kept_reason, g_free);
    }
    services.settings = NULL;
}

static void
test_old_signatures(void **state)
{
    const struct settings settings = {.on_old = ACTION_TEMPFAIL, .age_unsafe = 1000};
    services.settings = &settings;
    for (fake.age = 1000; fake.age <= 1001; fake.age++) {
        g_autoptr(facts_t) facts = facts_new();
        facts->complete = true;
        start();
        scanned(facts, NULL);
        assert_memory_equal(fake.replied, fake.age == 1000 ? "acc" : "451", 3);
        g_clear_pointer(&fake.replied, g_free);
    }
    services.settings = NULL;
    (void)state;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_clean),
        TEST(test_old_signatures),
        TEST(test_infected_is_kept_before_the_reply),
        TEST(test_unscanned_is_kept),
        TEST(test_no_facts),
        TEST(test_incomplete_scan),
        TEST(test_store_fails),
        TEST(test_state_full),
        TEST(test_abandoned_while_scanning),
        TEST(test_abandoned_while_storing),
        TEST(test_strike),
        TEST(test_strike_of_what_is_kept),
        TEST(test_third_strike),
        TEST(test_poison_is_known),
        TEST(test_strike_fails),
        TEST(test_abandoned_while_striking),
        TEST(test_discard),
        TEST(test_replace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

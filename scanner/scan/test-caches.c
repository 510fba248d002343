/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept, what is not, and whose word counts: verdicts, parts, and the list below them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "caches.h"
#include "digest.h"

#define KEY "00000000000000000000000000000000000000000000000000000000000000aa"
#define OTHER "00000000000000000000000000000000000000000000000000000000000000bb"

static struct caches caches;
static const guint8 message[LRU_KEY] = {1, 2, 3};

static void
engine(int restarts, const char *generation)
{
    json_auto_t *state = json_pack("{s:i, s:s}", "restarts", restarts, "generation", generation);
    caches_engine_changed(&caches, state);
}

static int
setup(void **state)
{
    const struct settings settings = {
        .worker_age = 600, .verdict_cache = 1 << 20, .part_cache = 1 << 20};
    (void)state;
    caches_init(&caches, &settings);
    engine(0, "a");
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    caches_clear(&caches);
    return 0;
}

static struct facts *
clean_facts(void)
{
    struct facts *facts = facts_new();
    facts->complete = true;
    return facts;
}

static struct voice
voice(gint64 worker)
{
    return (struct voice){.worker = worker, .era = g_strdup(caches.era)};
}

/* Whether the worker is told that the part is known. */
static bool
is_known(struct voice *who, const char *key)
{
    json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", key);
    json_auto_t *answer = caches_answer(&caches, who, question);
    assert_non_null(answer);
    return json_is_true(json_object_get(answer, "known"));
}

/* One scan, in which the worker asks for the part and then reports it with a member NAME in it. */
static void
scan_part(struct voice *who, const char *key, const struct facts *facts, const char *name)
{
    g_autoptr(facts_t) inside = clean_facts();
    struct part member = {.path = (char[]){"1"}, .type = (char[]){""}, .filename = g_strdup(name)};
    facts_add_part(inside, &member);
    g_free(member.filename);
    json_auto_t *report = json_pack("{s:o}", key, facts_to_json(inside));
    part_talk_begin(&who->talk);
    (void)is_known(who, key);
    caches_remember(&caches, who, NULL, facts, report);
    part_talk_begin(&who->talk);
}

static void
scan_clean_part(gint64 worker, const char *key)
{
    struct voice who = voice(worker);
    g_autoptr(facts_t) facts = clean_facts();
    scan_part(&who, key, facts, "a.txt");
    g_free(who.era);
}

static void
assert_known(const char *key, bool expected)
{
    struct voice third = voice(99);
    assert_int_equal(is_known(&third, key), expected);
    g_free(third.era);
}

static void
test_two_workers_make_a_part_known(void **state)
{
    (void)state;
    scan_clean_part(1, KEY);
    assert_known(KEY, false);
    scan_clean_part(1, KEY);
    scan_clean_part(1, KEY);
    assert_known(KEY, false); /* one worker, however often, is one */
    scan_clean_part(2, KEY);
    assert_known(KEY, true);
    assert_known(OTHER, false);
}

static void
test_what_is_inside_comes_back(void **state)
{
    struct voice third = voice(3);
    (void)state;
    scan_clean_part(1, KEY);
    scan_clean_part(2, KEY);
    json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", KEY);
    json_auto_t *answer = caches_answer(&caches, &third, question);
    g_autoptr(facts_t) inside = facts_from_json(json_object_get(answer, "facts"));
    assert_non_null(inside);
    assert_string_equal(((struct part *)inside->parts->pdata[0])->filename, "a.txt");
    g_free(third.era);
}

static void
test_workers_that_contradict_each_other_count_for_nothing(void **state)
{
    struct voice second = voice(2);
    g_autoptr(facts_t) facts = clean_facts();
    (void)state;
    scan_clean_part(1, KEY);
    scan_part(&second, KEY, facts, "b.txt");
    assert_known(KEY, false);
    scan_clean_part(3, KEY);
    assert_known(KEY, false); /* the first's word is gone too */
    scan_clean_part(4, KEY);
    assert_known(KEY, true);
    g_free(second.era);
}

static void
spoil_detection(struct facts *facts)
{
    facts_add_detection(facts, "Eicar");
}

static void
spoil_fault(struct facts *facts)
{
    facts_add_fault(facts, "mkdir: No space left on device");
}

static void
spoil_limit(struct facts *facts)
{
    facts_add_unscanned(facts, CAUSE_LIMIT, "Heuristics.Limits.Exceeded.MaxFiles", "1.2");
}

static void
spoil_encrypted(struct facts *facts)
{
    facts_add_unscanned(facts, CAUSE_ENCRYPTED, "Heuristics.Encrypted.Zip", "1.3");
}

static void
spoil_end(struct facts *facts)
{
    facts->complete = false;
}

static const struct {
    void (*spoil)(struct facts *facts);
    bool verdict_is_kept;
} spoils[] = {{spoil_detection, true},
              {spoil_fault, false},
              {spoil_limit, false},
              {spoil_encrypted, true},
              {spoil_end, false}};

/* Nothing else may be said of the message in which a part was found clean. */
static void
test_a_scan_that_was_not_clean_tells_nothing_of_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(spoils); i++) {
        for (gint64 worker = 1; worker <= 3; worker++) {
            struct voice who = voice(worker);
            g_autoptr(facts_t) facts = clean_facts();
            spoils[i].spoil(facts);
            scan_part(&who, KEY, facts, "a.txt");
            g_free(who.era);
        }
        assert_known(KEY, false);
    }
}

static void
test_only_what_was_asked_for_is_taken(void **state)
{
    (void)state;
    for (gint64 worker = 1; worker <= 3; worker++) {
        struct voice who = voice(worker);
        g_autoptr(facts_t) facts = clean_facts();
        g_autoptr(facts_t) inside = clean_facts();
        json_auto_t *report =
            json_pack("{s:o, s:o}", KEY, facts_to_json(inside), "no key", facts_to_json(inside));
        part_talk_begin(&who.talk);
        (void)is_known(&who, OTHER);
        caches_remember(&caches, &who, NULL, facts, report);
        g_free(who.era);
    }
    assert_known(KEY, false);
}

static void
test_questions_that_are_none(void **state)
{
    static const char *const keys[] = {"", "xyz", KEY "0", "g" OTHER};
    struct voice who = voice(1);
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", keys[i]);
        assert_null(caches_answer(&caches, &who, question));
    }
    part_talk_begin(&who.talk);
    for (int i = 0; i < PART_CACHE_ASKS_MAX; i++) {
        (void)is_known(&who, KEY);
    }
    json_auto_t *one_more = json_pack("{s:s, s:s}", "op", "known", "key", KEY);
    assert_null(caches_answer(&caches, &who, one_more));
    g_free(who.era);
}

static void
test_a_worker_that_ended_badly_is_not_believed(void **state)
{
    g_autoptr(facts_t) facts = clean_facts();
    struct voice first = voice(1);
    gint64 by;
    (void)state;
    scan_clean_part(1, KEY);
    scan_clean_part(2, KEY);
    caches_remember(&caches, &first, message, facts, NULL);
    caches_distrust(&caches, 3);
    assert_known(KEY, true);
    caches_distrust(&caches, 1);
    assert_known(KEY, false);
    assert_null(verdict_cache_get(caches.verdicts, message, g_get_monotonic_time(), &by));
    g_free(first.era);
}

static void
put_message(struct voice *who, struct facts *facts)
{
    caches_remember(&caches, who, message, facts, NULL);
}

static enum verdict
kept_verdict(bool *ret_kept)
{
    gint64 by = 0;
    g_autoptr(facts_t) facts =
        verdict_cache_get(caches.verdicts, message, g_get_monotonic_time(), &by);
    *ret_kept = facts != NULL;
    return facts != NULL ? facts_verdict(facts) : VERDICT_ERROR;
}

static void
test_verdicts_that_are_kept(void **state)
{
    bool kept;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(spoils); i++) {
        g_autoptr(facts_t) facts = clean_facts();
        struct voice who = voice(1);
        spoils[i].spoil(facts);
        put_message(&who, facts);
        enum verdict verdict = kept_verdict(&kept);
        assert_int_equal(kept, spoils[i].verdict_is_kept);
        assert_true(!kept || verdict == facts_verdict(facts));
        verdict_cache_clear(caches.verdicts);
        g_free(who.era);
    }
}

static void
test_another_engine_knows_nothing(void **state)
{
    static const struct {
        int restarts;
        const char *generation;
    } next[] = {{0, "b"}, {1, "b"}, {2, "a"}};
    bool kept;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(next); i++) {
        g_autoptr(facts_t) facts = clean_facts();
        struct voice old = voice(1);
        put_message(&old, facts);
        scan_clean_part(1, KEY);
        scan_clean_part(2, KEY);
        engine(next[i].restarts, next[i].generation);
        (void)kept_verdict(&kept);
        assert_false(kept);
        assert_known(KEY, false);
        /* A scan that began before ends now. */
        put_message(&old, facts);
        scan_part(&old, KEY, facts, "a.txt");
        scan_clean_part(2, KEY);
        (void)kept_verdict(&kept);
        assert_false(kept);
        assert_known(KEY, false);
        g_free(old.era);
    }
    caches_engine_changed(&caches, NULL);
    struct voice none = voice(1);
    g_autoptr(facts_t) facts = clean_facts();
    put_message(&none, facts);
    (void)kept_verdict(&kept);
    assert_false(kept);
}

static void
test_age(void **state)
{
    g_autoptr(facts_t) facts = clean_facts();
    gint64 by;
    (void)state;
    verdict_cache_put(caches.verdicts, message, 1, facts, 0);
    g_autoptr(facts_t) young =
        verdict_cache_get(caches.verdicts, message, 600 * G_USEC_PER_SEC - 1, &by);
    assert_non_null(young);
    assert_int_equal(by, 1);
    assert_null(verdict_cache_get(caches.verdicts, message, 600 * G_USEC_PER_SEC, &by));
}

static void
test_off(void **state)
{
    const struct settings settings = {.worker_age = 600};
    bool kept;
    (void)state;
    caches_clear(&caches);
    caches_init(&caches, &settings);
    engine(0, "a");
    g_autoptr(facts_t) facts = clean_facts();
    struct voice who = voice(1);
    assert_false(verdict_cache_is_on(caches.verdicts));
    assert_false(part_cache_is_on(caches.parts));
    put_message(&who, facts);
    scan_clean_part(1, KEY);
    scan_clean_part(2, KEY);
    (void)kept_verdict(&kept);
    assert_false(kept);
    assert_known(KEY, false);
    g_free(who.era);
}

static void
test_the_list_is_bounded(void **state)
{
    struct lru *lru = lru_new(4096, G_USEC_PER_SEC, g_free);
    guint8 key[LRU_KEY] = {0};
    (void)state;
    for (guint8 i = 1; i <= 100; i++) {
        key[0] = i;
        lru_put(lru, key, g_strdup("x"), 500, 0);
        key[0] = 1;
        assert_non_null(lru_get(lru, key, 0)); /* in use: it stays */
        assert_true(lru_bytes(lru) <= 4096);
    }
    assert_in_range(lru_count(lru), 2, 8);
    key[0] = 2;
    assert_null(lru_get(lru, key, 0));
    key[0] = 200;
    lru_put(lru, key, g_strdup("too large"), 5000, 0);
    assert_null(lru_get(lru, key, 0));
    lru_clear(lru);
    assert_int_equal(lru_bytes(lru), 0);
    lru_free(lru);
}

struct digested {
    int calls;
    guint8 key[LRU_KEY];
};

static void
on_digest(void *data, const guint8 *key)
{
    struct digested *digested = data;
    digested->calls++;
    assert_non_null(key);
    memcpy(digested->key, key, LRU_KEY);
}

static void
assert_digest(sd_event *event, struct digester *digester, size_t size)
{
    struct digested got = {0};
    int fd = memfd_create("test", MFD_CLOEXEC);
    g_autofree char *data = g_strnfill(size, 'x');
    g_autofree char *expected =
        g_compute_checksum_for_string(G_CHECKSUM_SHA256, data, (gssize)size);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    struct digest *digest = digest_start(digester, fd, on_digest, &got);
    assert_int_equal(digest == NULL, size <= DIGEST_NOW_MAX);
    close(fd);
    while (got.calls == 0) {
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
    }
    for (int i = 0; i < LRU_KEY; i++) {
        assert_int_equal(got.key[i], g_ascii_xdigit_value(expected[2 * i]) << 4 |
                                         g_ascii_xdigit_value(expected[2 * i + 1]));
    }
}

static void
test_digests(void **state)
{
    sd_event *event = NULL;
    struct digester *digester = NULL;
    struct digested never = {0};
    (void)state;
    assert_true(sd_event_new(&event) >= 0);
    assert_true(digester_new(event, &digester) >= 0);
    assert_digest(event, digester, 3);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    digest_cancel(digest_start(digester, fd, on_digest, &never));
    close(fd);
    assert_digest(event, digester, DIGEST_NOW_MAX + 1); /* after the cancelled one */
    assert_int_equal(never.calls, 0);
    digester_free(digester);
    sd_event_unref(event);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_two_workers_make_a_part_known),
        TEST(test_what_is_inside_comes_back),
        TEST(test_workers_that_contradict_each_other_count_for_nothing),
        TEST(test_a_scan_that_was_not_clean_tells_nothing_of_parts),
        TEST(test_only_what_was_asked_for_is_taken),
        TEST(test_questions_that_are_none),
        TEST(test_a_worker_that_ended_badly_is_not_believed),
        TEST(test_verdicts_that_are_kept),
        TEST(test_another_engine_knows_nothing),
        TEST(test_age),
        TEST(test_off),
        TEST(test_the_list_is_bounded),
        TEST(test_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

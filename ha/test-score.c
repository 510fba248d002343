/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <glib.h>

#include "peer.h"
#include "role.h"
#include "score.h"

#define KEEP 36

struct row {
    const char *what;
    enum role_stage stage;
    bool keep;
    gint64 age; /* of the stage */
    enum score_engine engine;
    int promotion;
    bool keep_after;
    gint64 recheck;
};

/* Each row of the table in score.h, and the borders between them. */
static const struct row rows[] = {
    {"passive, loading", ROLE_STANDBY, false, 5, SCORE_ENGINE_LOADING, SCORE_LOAD, false, 0},
    {"passive, broken", ROLE_STANDBY, false, 5, SCORE_ENGINE_BROKEN, SCORE_LOAD, false, 0},
    {"passive, dead", ROLE_STANDBY, false, 5, SCORE_ENGINE_DEAD, SCORE_LOAD, false, 0},
    {"passive, ready", ROLE_STANDBY, false, 5, SCORE_ENGINE_READY, SCORE_READY, false, 0},
    {"passive never keeps", ROLE_STANDBY, true, 5, SCORE_ENGINE_LOADING, SCORE_LOAD, false, 0},
    {"promoted, first load", ROLE_SERVING, true, 5, SCORE_ENGINE_LOADING, SCORE_READY, true, 31},
    {"being promoted", ROLE_TAKING, true, 0, SCORE_ENGINE_LOADING, SCORE_READY, true, KEEP},
    {"last second of keep", ROLE_SERVING, true, 35, SCORE_ENGINE_LOADING, SCORE_READY, true, 1},
    {"keep is over", ROLE_SERVING, true, 36, SCORE_ENGINE_LOADING, SCORE_PLOST, false, 0},
    {"promoted, ready", ROLE_SERVING, true, 5, SCORE_ENGINE_READY, SCORE_READY, false, 0},
    {"ready late", ROLE_SERVING, false, 99, SCORE_ENGINE_READY, SCORE_READY, false, 0},
    {"was ready, loads again", ROLE_SERVING, false, 5, SCORE_ENGINE_LOADING, SCORE_PLOST, false, 0},
    {"promoted, broken", ROLE_SERVING, true, 5, SCORE_ENGINE_BROKEN, SCORE_PLOST, false, 0},
    {"promoted, dead", ROLE_SERVING, true, 5, SCORE_ENGINE_DEAD, SCORE_PLOST, false, 0},
    {"leaving, ready", ROLE_LEAVING, false, 0, SCORE_ENGINE_READY, SCORE_READY, false, 0},
    {"leaving, loading", ROLE_LEAVING, false, 0, SCORE_ENGINE_LOADING, SCORE_PLOST, false, 0},
};

/* A loss counts for HOLD seconds from where on the group may still be on its way. */
static const struct {
    const char *what;
    enum role_stage stage;
    gint64 ago;  /* of the loss; -1: none was seen yet */
    gint64 from; /* so long ago it was ready again, or on the passive node demoted; -1: not yet */
    enum score_engine engine;
    int promotion;
    gint64 fell_ago; /* afterwards; -1: forgotten */
    gint64 recheck;
} held_rows[] = {
    {"lost now", ROLE_SERVING, -1, -1, SCORE_ENGINE_DEAD, SCORE_PLOST, 0, 0},
    {"ready again", ROLE_SERVING, 1, -1, SCORE_ENGINE_READY, SCORE_PLOST, 1, SCORE_HOLD},
    {"still held", ROLE_SERVING, 5, 4, SCORE_ENGINE_READY, SCORE_PLOST, 5, SCORE_HOLD - 4},
    {"lost twice", ROLE_SERVING, 2, 1, SCORE_ENGINE_LOADING, SCORE_PLOST, 2, 0},
    {"moves away", ROLE_LEAVING, 3, 1, SCORE_ENGINE_READY, SCORE_PLOST, 3, SCORE_HOLD - 1},
    {"has moved", ROLE_STANDBY, 4, 3, SCORE_ENGINE_READY, SCORE_PLOST, 4, SCORE_HOLD - 3},
    {"has moved, loads", ROLE_STANDBY, 4, 3, SCORE_ENGINE_LOADING, SCORE_LOAD, 4, 0},
    {"last second", ROLE_SERVING, 16, 14, SCORE_ENGINE_READY, SCORE_PLOST, 16, 1},
    {"nobody took over", ROLE_SERVING, 20, SCORE_HOLD, SCORE_ENGINE_READY, SCORE_READY, -1, 0},
    {"loads for long", ROLE_SERVING, 99, -1, SCORE_ENGINE_LOADING, SCORE_PLOST, 99, 0},
    {"loaded for long", ROLE_SERVING, 99, -1, SCORE_ENGINE_READY, SCORE_PLOST, 99, SCORE_HOLD},
    {"moved late", ROLE_STANDBY, 99, 2, SCORE_ENGINE_READY, SCORE_PLOST, 99, SCORE_HOLD - 2},
    {"moved long ago", ROLE_STANDBY, 99, 90, SCORE_ENGINE_READY, SCORE_READY, -1, 0},
    {"passive, loads for long", ROLE_STANDBY, 99, 90, SCORE_ENGINE_LOADING, SCORE_LOAD, -1, 0},
};

static struct role
held_role(size_t i, gint64 now)
{
    gint64 from = held_rows[i].from < 0 ? 0 : now - held_rows[i].from;
    bool is_passive = held_rows[i].stage == ROLE_STANDBY;
    return (struct role){.stage = held_rows[i].stage,
                         .since = is_passive ? from : 1,
                         .again = is_passive ? 0 : from,
                         .fell = held_rows[i].ago < 0 ? 0 : now - held_rows[i].ago};
}

static void
test_score_held(void **state)
{
    const gint64 now = 1000;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(held_rows); i++) {
        struct role role = held_role(i, now);
        struct score_state engine = {.engine = held_rows[i].engine};
        struct score got = score_compute(&role, &engine, KEEP, now);
        gint64 fell = held_rows[i].fell_ago < 0 ? 0 : now - held_rows[i].fell_ago;
        if (got.promotion != held_rows[i].promotion || got.fell != fell ||
            got.recheck_s != held_rows[i].recheck) {
            fail_msg("%s: %d, %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT, held_rows[i].what,
                     got.promotion, got.fell, got.recheck_s);
        }
    }
}

/* The clock runs from the first look that finds it ready; a second loss stops it. */
static void
test_score_held_in_time(void **state)
{
    struct role role = {.stage = ROLE_SERVING, .since = 1, .fell = 100};
    const struct score_state ready = {.engine = SCORE_ENGINE_READY};
    const struct score_state loading = {.engine = SCORE_ENGINE_LOADING};
    (void)state;
    for (gint64 now = 120; now < 120 + SCORE_HOLD; now++) {
        struct score got = score_compute(&role, &ready, KEEP, now);
        assert_int_equal(got.promotion, SCORE_PLOST);
        role.fell = got.fell;
        role.again = got.again;
    }
    assert_int_equal(score_compute(&role, &ready, KEEP, 120 + SCORE_HOLD).promotion, SCORE_READY);
    assert_int_equal(score_compute(&role, &loading, KEEP, 130).again, 0);
}

/* Where nobody could have taken over the loss is forgotten at once; all else is as it was. */
static void
test_score_held_for_a_peer(void **state)
{
    const gint64 now = 1000;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(held_rows); i++) {
        struct role role = held_role(i, now);
        struct score_state engine = {.engine = held_rows[i].engine};
        const struct score plain = score_compute(&role, &engine, KEEP, now);
        bool held = engine.engine == SCORE_ENGINE_READY && plain.promotion == SCORE_PLOST;
        struct score got = plain;
        score_hold(true, &got);
        assert_int_equal(got.promotion, plain.promotion);
        assert_int_equal(got.fell, plain.fell);
        assert_int_equal(got.again, plain.again);
        assert_int_equal(got.recheck_s, held ? 1 : plain.recheck_s);
        got = plain;
        score_hold(false, &got);
        assert_int_equal(got.promotion, held ? SCORE_READY : plain.promotion);
        assert_int_equal(got.fell, held ? 0 : plain.fell);
        assert_int_equal(got.recheck_s, held ? 0 : plain.recheck_s);
    }
}

/* New signatures wait for the mail to leave: until they are in, or the group, half way out, would
 * turn round; and only when it has where to go. */
static void
test_move(void **state)
{
    static const struct {
        enum role_stage stage;
        enum score_engine engine;
        bool moves;
    } moves[] = {
        {ROLE_SERVING, SCORE_ENGINE_READY, true},    {ROLE_LEAVING, SCORE_ENGINE_READY, true},
        {ROLE_STANDBY, SCORE_ENGINE_READY, true},    {ROLE_STANDBY, SCORE_ENGINE_LOADING, false},
        {ROLE_SERVING, SCORE_ENGINE_LOADING, false},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(moves); i++) {
        struct role role = {.stage = moves[i].stage, .since = 1000};
        struct score_state engine = {.engine = moves[i].engine, .has_health = true};
        const struct score plain = score_compute(&role, &engine, KEEP, 1005);
        engine.health.level[HEALTH_SIGNATURES_MOVE] = HEALTH_YELLOW;
        struct score got = score_compute(&role, &engine, KEEP, 1005);
        assert_int_equal(got.moves, moves[i].moves);
        assert_int_equal(got.promotion, moves[i].moves ? SCORE_PLOST : plain.promotion);
        score_hold(true, &got);
        assert_int_equal(got.promotion, moves[i].moves ? SCORE_PLOST : plain.promotion);
        score_hold(false, &got);
        assert_int_equal(got.promotion, plain.promotion);
        assert_int_equal(got.recheck_s, moves[i].moves ? SCORE_MOVE_S : plain.recheck_s);
    }
}

/* When there is memory after all, because Postfix has stopped, the group is half way out. */
static void
test_move_that_is_called_off(void **state)
{
    struct role role = {.stage = ROLE_SERVING, .since = 1};
    struct score_state engine = {.engine = SCORE_ENGINE_READY, .has_health = true};
    (void)state;
    engine.health.level[HEALTH_SIGNATURES_MOVE] = HEALTH_YELLOW;
    for (gint64 now = 1000; now < 1100; now++) {
        struct score got = score_compute(&role, &engine, KEEP, now);
        score_hold(true, &got);
        assert_int_equal(got.promotion, SCORE_PLOST);
        role.fell = got.fell;
        role.again = got.again;
    }
    engine.health.level[HEALTH_SIGNATURES_MOVE] = HEALTH_GREEN;
    for (gint64 now = 1100; now < 1100 + SCORE_HOLD; now++) {
        struct score got = score_compute(&role, &engine, KEEP, now);
        assert_int_equal(got.promotion, SCORE_PLOST);
        role.fell = got.fell;
        role.again = got.again;
    }
    assert_int_equal(score_compute(&role, &engine, KEEP, 1100 + SCORE_HOLD).promotion, SCORE_READY);
    struct score alone = score_compute(&role, &engine, KEEP, 1100);
    score_hold(false, &alone);
    assert_int_equal(alone.promotion, SCORE_READY);
    assert_int_equal(alone.fell, 0);
}

/* After the demotion it lasts as long as the move may. */
static void
test_move_that_goes_on(void **state)
{
    struct role role = {.stage = ROLE_STANDBY, .since = 1000, .fell = 990};
    const struct score_state engine = {.engine = SCORE_ENGINE_READY};
    (void)state;
    assert_int_equal(score_compute(&role, &engine, KEEP, 1001).promotion, SCORE_PLOST);
    assert_int_equal(score_compute(&role, &engine, KEEP, 1000 + SCORE_HOLD).promotion, SCORE_READY);
}

/* A new promotion starts afresh; a demotion does not. */
static void
test_fell_and_stage(void **state)
{
    struct role role = {.fell = 7};
    (void)state;
    role_set_stage(&role, ROLE_LEAVING);
    role_set_stage(&role, ROLE_STANDBY);
    assert_int_equal(role.fell, 7);
    role_set_stage(&role, ROLE_TAKING);
    assert_int_equal(role.fell, 0);
}

static void
test_score_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct role role = {.stage = rows[i].stage, .keep = rows[i].keep, .since = 1000};
        struct score_state engine = {.engine = rows[i].engine};
        struct score got = score_compute(&role, &engine, KEEP, 1000 + rows[i].age);
        if (got.promotion != rows[i].promotion || got.keep != rows[i].keep_after ||
            got.recheck_s != rows[i].recheck) {
            fail_msg("%s: %d, %d, %" G_GINT64_FORMAT, rows[i].what, got.promotion, got.keep,
                     got.recheck_s);
        }
    }
    assert_true(SCORE_LOAD < SCORE_PLOST && SCORE_PLOST < SCORE_READY);
}

/* Only a node that loads and does not serve waits, and only while another one is ready. */
static void
test_require_ready(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct role role = {.stage = rows[i].stage, .keep = rows[i].keep, .since = 1000};
        struct score_state engine = {.engine = rows[i].engine};
        const struct score plain = score_compute(&role, &engine, KEEP, 1000 + rows[i].age);
        struct score got = plain;
        score_wait(&role, true, &got);
        assert_int_equal(got.promotion, plain.promotion); /* it was not asked for */
        role.require_ready = true;
        score_wait(&role, true, &got);
        gboolean waits = plain.promotion == SCORE_LOAD;
        assert_int_equal(got.promotion, waits ? SCORE_WAIT : plain.promotion);
        assert_int_equal(got.recheck_s, waits ? 1 : plain.recheck_s);
        got = plain;
        score_wait(&role, false, &got);
        assert_int_equal(got.promotion, plain.promotion);
    }
    assert_true(SCORE_WAIT < -1);
}

static void
test_peers(void **state)
{
    static const char text[] = "name=\"master-postern\" host=\"n1\" value=\"100000\"\n"
                               "name=\"master-postern\" host=\"n2\" value=\"10\"\n";
    (void)state;
    assert_true(peer_parse(text, "n2"));
    assert_false(peer_parse(text, "n1")); /* its own score says nothing of others */
    assert_true(peer_parse("name=\"m\" host=\"n3\" value=\"INFINITY\"\n", "n1"));
    assert_false(peer_parse("", "n1"));
    assert_false(peer_parse("could not be asked\n", "n1"));
    assert_false(peer_parse("name=\"m\" host=\"n3\" value=\"", "n1"));
}

static void
test_keep_seconds(void **state)
{
    (void)state;
    assert_int_equal(score_keep_seconds(0), SCORE_KEEP_UNKNOWN);
    assert_int_equal(score_keep_seconds(1), SCORE_KEEP_MIN);
    assert_int_equal(score_keep_seconds(18), 36);
    assert_int_equal(score_keep_seconds(86400), SCORE_KEEP_MAX);
}

static void
test_state_valid(void **state)
{
    struct score_state got;
    (void)state;
    assert_int_equal(score_state_parse("ready 1690000000 18 gen-7\n", &got), 0);
    assert_int_equal(got.engine, SCORE_ENGINE_READY);
    assert_int_equal(got.since, 1690000000);
    assert_int_equal(got.load_s, 18);
    assert_string_equal(got.generation, "gen-7");
    assert_int_equal(score_state_parse("ready 1 17.004 none", &got), 0);
    assert_int_equal(got.load_s, 18);
    assert_int_equal(score_state_parse("loading 1 0.000 none", &got), 0);
    assert_int_equal(got.load_s, 0);
    assert_int_equal(got.engine, SCORE_ENGINE_LOADING);
    assert_int_equal(score_state_parse("failed 1 0 -", &got), 0);
    assert_int_equal(got.engine, SCORE_ENGINE_BROKEN);
}

/* A program with lesser rights has written it: whatever is odd counts as not ready. */
static void
test_state_hostile(void **state)
{
    static const char *const bad[] = {
        "",
        "ready",
        "ready 1 2",
        "ready -1 2 gen",
        "ready 1 99999999 gen",
        "ready 99999999999999999999 2 gen",
        "READY 1 2 gen",
        "ready 1 nan gen",
        "ready 1 -2 gen",
        "ready 1 0x gen",
        "ready 1  gen",
    };
    struct score_state got;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        memset(&got, 0xff, sizeof got);
        assert_int_equal(score_state_parse(bad[i], &got), -EBADMSG);
        assert_int_equal(got.engine, SCORE_ENGINE_LOADING);
        assert_int_equal(got.since, 0);
        assert_string_equal(got.generation, "");
    }
}

/* An odd name is not shown, and does not make a ready engine unready. */
static void
test_state_generation(void **state)
{
    static const char *const odd[] = {
        "ready 1 2 gen\"x", "ready 1 2 ../../etc", "ready 1 2 g\xff",
        "ready 1 2 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct score_state got;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        assert_int_equal(score_state_parse(odd[i], &got), 0);
        assert_int_equal(got.engine, SCORE_ENGINE_READY);
        assert_string_equal(got.generation, "?");
    }
}

/* A node's health is believed when each word of it is known, and is no reason to distrust the
 * rest. */
static void
test_state_health(void **state)
{
    static const char *const bad[] = {
        "ready 1 2 gen x",
        "ready 1 2 gen ",
        "ready 1 2 gen yellow",
        "ready 1 2 gen storage-full=purple",
        "ready 1 2 gen storage-full=green",
        "ready 1 2 gen storage-full=red storage-full=red",
        "ready 1 2 gen storage-full=red,storage-full=red",
        "ready 1 2 gen storage-full=red,",
        "ready 1 2 gen clock-unset=red",
        "ready 1 2 gen state-full=yellow",
        "ready 1 2 gen",
    };
    struct score_state got;
    (void)state;
    assert_int_equal(score_state_parse("ready 1 2 gen green\n", &got), 0);
    assert_true(got.has_health);
    assert_int_equal(health_worst(&got.health), HEALTH_GREEN);
    assert_int_equal(score_state_parse("ready 1 2 gen storage-full=red,clock-unset=yellow\n", &got),
                     0);
    assert_true(got.has_health);
    assert_int_equal(got.health.level[HEALTH_STORAGE_FULL], HEALTH_RED);
    assert_int_equal(got.health.level[HEALTH_CLOCK_UNSET], HEALTH_YELLOW);
    g_autofree char *text = score_text(&got, 0);
    assert_string_equal(text, "ready (gen); this node is red: storage-full");
    got.health.level[HEALTH_STORAGE_FULL] = HEALTH_GREEN;
    got.health.level[HEALTH_SIGNATURES_OLD] = HEALTH_YELLOW;
    g_autofree char *old = score_text(&got, 0);
    assert_string_equal(old, "ready (gen), with OLD signatures");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(score_state_parse(bad[i], &got), 0);
        assert_int_equal(got.engine, SCORE_ENGINE_READY);
        assert_string_equal(got.generation, "gen");
        assert_false(got.has_health);
        assert_int_equal(health_worst(&got.health), HEALTH_GREEN);
    }
}

static void
check_text(enum score_engine engine, gint64 since, unsigned load_s, const char *expected)
{
    struct score_state state = {.engine = engine, .since = since, .generation = "gen-7"};
    g_autofree char *got = score_text(&state, load_s);
    if (expected == NULL) {
        assert_null(got);
    } else {
        assert_string_equal(got, expected);
    }
}

static void
test_text(void **state)
{
    (void)state;
    check_text(SCORE_ENGINE_LOADING, 43390, 18, "loading since 12:03:10, about 18 s");
    check_text(SCORE_ENGINE_LOADING, 43390, 0, "loading since 12:03:10");
    check_text(SCORE_ENGINE_LOADING, 0, 18, NULL);
    check_text(SCORE_ENGINE_READY, 43390, 18, "ready (gen-7)");
    check_text(SCORE_ENGINE_BROKEN, 43390, 18, "signatures cannot be loaded since 12:03:10");
    check_text(SCORE_ENGINE_DEAD, 0, 18, "engine failed");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_table),
        cmocka_unit_test(test_score_held),
        cmocka_unit_test(test_score_held_in_time),
        cmocka_unit_test(test_score_held_for_a_peer),
        cmocka_unit_test(test_fell_and_stage),
        cmocka_unit_test(test_require_ready),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_keep_seconds),
        cmocka_unit_test(test_state_valid),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_move_that_is_called_off),
        cmocka_unit_test(test_move_that_goes_on),
        cmocka_unit_test(test_state_hostile),
        cmocka_unit_test(test_state_generation),
        cmocka_unit_test(test_state_health),
        cmocka_unit_test(test_text),
    };
    (void)g_setenv("TZ", "UTC", TRUE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

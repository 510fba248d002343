/* SPDX-License-Identifier: GPL-2.0-only */
/* A node's health: the table, the clock, the measuring child. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "health-watch.h"

struct place {
    char *dir;
};

static int
setup(void **state)
{
    struct place *place = g_new0(struct place, 1);
    place->dir = g_strdup("/tmp/postern-test-health-XXXXXX");
    *state = place;
    return mkdtemp(place->dir) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
    struct place *place = *state;
    int rc = rmdir(place->dir);
    g_free(place->dir);
    g_free(place);
    return rc;
}

#define MB 1048576ULL
static const struct health_limits limits = {
    .pressure = 40, .memory = 100 * MB, .load = 1000 * MB, .storage = 16 * MB};
static const struct health_measure well = {.pressure = 0,
                                           .available = 4000 * MB,
                                           .room = {1000 * MB, 1000 * MB},
                                           .total = {9000 * MB, 9000 * MB}};

static void
check_judge(enum health_cause cause, const struct health_measure *measure,
            enum health_level expected)
{
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        enum health_level got = health_judge((enum health_cause)i, measure, &limits);
        enum health_level wanted = i == cause ? expected : HEALTH_GREEN;
        if (got != wanted) {
            fail_msg("%s is %s, not %s", health_cause_name((enum health_cause)i),
                     health_level_name(got), health_level_name(wanted));
        }
    }
}

static void
test_judge_memory(void **state)
{
    struct health_measure m = well;
    (void)state;
    check_judge(HEALTH_CAUSES, &well, HEALTH_GREEN);
    m.pressure = 19.9;
    check_judge(HEALTH_MEMORY_PRESSURE, &m, HEALTH_GREEN);
    m.pressure = 20;
    check_judge(HEALTH_MEMORY_PRESSURE, &m, HEALTH_YELLOW);
    m.pressure = 40;
    check_judge(HEALTH_MEMORY_PRESSURE, &m, HEALTH_RED);
    m.pressure = -1; /* a kernel without it */
    check_judge(HEALTH_MEMORY_PRESSURE, &m, HEALTH_GREEN);
    m.available = 1100 * MB;
    check_judge(HEALTH_MEMORY_SHORT, &m, HEALTH_GREEN);
    m.available = 1099 * MB;
    check_judge(HEALTH_MEMORY_SHORT, &m, HEALTH_YELLOW);
    m.available = 99 * MB;
    check_judge(HEALTH_MEMORY_SHORT, &m, HEALTH_RED);
    m.available = 0; /* unknown */
    check_judge(HEALTH_MEMORY_SHORT, &m, HEALTH_GREEN);
}

static void
test_judge_storage(void **state)
{
    struct health_measure m = well;
    (void)state;
    m.room[1] = 31 * MB;
    check_judge(HEALTH_STORAGE_FULL, &m, HEALTH_YELLOW);
    m.room[1] = 15 * MB;
    check_judge(HEALTH_STORAGE_FULL, &m, HEALTH_RED);
    m.total[1] = 60 * MB; /* small: 3 MB are asked for */
    check_judge(HEALTH_STORAGE_FULL, &m, HEALTH_GREEN);
    m.room[1] = 2 * MB;
    check_judge(HEALTH_STORAGE_FULL, &m, HEALTH_RED);
    m = well;
    m.no_inodes = true;
    check_judge(HEALTH_STORAGE_FULL, &m, HEALTH_RED);
    m = well;
    m.readonly_ever = true;
    check_judge(HEALTH_STORAGE_READONLY, &m, HEALTH_YELLOW);
    m.readonly = true;
    check_judge(HEALTH_STORAGE_READONLY, &m, HEALTH_RED);
    m = well;
    m.error = true;
    check_judge(HEALTH_STORAGE_ERROR, &m, HEALTH_RED);
    m = well;
    m.silent = true;
    check_judge(HEALTH_STORAGE_ERROR, &m, HEALTH_RED);
}

static void
test_judge_clock(void **state)
{
    struct health_measure m = well;
    struct health_clock clock = {0};
    (void)state;
    m.clock_unset = true;
    check_judge(HEALTH_CLOCK_UNSET, &m, HEALTH_YELLOW);
    m = well;
    m.jumps = 1;
    check_judge(HEALTH_CLOCK_JUMPS, &m, HEALTH_YELLOW);
    m.jumps = HEALTH_JUMPS_RED;
    check_judge(HEALTH_CLOCK_JUMPS, &m, HEALTH_RED);

    assert_int_equal(health_clock_step(&clock, 1000, 10), 0);
    assert_int_equal(health_clock_step(&clock, 1000 + HEALTH_JUMP_US, 20), 0); /* slewed */
    assert_int_equal(health_clock_step(&clock, 99 * HEALTH_JUMP_US, 30), 1);
    assert_int_equal(health_clock_step(&clock, 99 * HEALTH_JUMP_US, 40), 1);
    assert_int_equal(health_clock_step(&clock, 5, 50), 2);
    assert_int_equal(health_clock_step(&clock, -99 * HEALTH_JUMP_US, 60), 3);
    assert_int_equal(health_clock_step(&clock, 5, 70), 3); /* it remembers no more */
    assert_int_equal(health_clock_step(&clock, 5, 70 + HEALTH_JUMP_AGE_S), 0);
}

static void
test_measure(void **state)
{
    const struct place *place = *state;
    const char *const places[] = {place->dir, "/nowhere", "/proc", NULL};
    bool was_writable[3] = {false};
    struct health_measure m;
    health_measure(places, was_writable, true, &m);
    assert_true(m.available > 0);
    assert_true(m.room[0] > 0 && m.total[0] >= m.room[0]);
    assert_int_equal(m.room[1], 0);
    assert_int_equal(m.total[1], 0);
    assert_true(was_writable[0]);
    assert_false(was_writable[1]);
    assert_false(m.error || m.readonly);
    g_autoptr(GDir) left = g_dir_open(place->dir, 0, NULL);
    assert_null(g_dir_read_name(left));
}

/* Never red: they would come along. */
static void
test_judge_signatures(void **state)
{
    struct health_measure m = well;
    (void)state;
    m.old = true;
    check_judge(HEALTH_SIGNATURES_OLD, &m, HEALTH_YELLOW);
    m.old = false;
    m.waits = true;
    check_judge(HEALTH_SIGNATURES_WAIT, &m, HEALTH_YELLOW);
    m.moves = true;
    check_judge(HEALTH_SIGNATURES_MOVE, &m, HEALTH_YELLOW);
    m.waits = false;
    check_judge(HEALTH_SIGNATURES_MOVE, &m, HEALTH_GREEN);
}

struct heard {
    sd_event *event;
    unsigned n;
    struct health health;
};

static void
on_health(const struct health *health, void *data)
{
    struct heard *heard = data;
    heard->n++;
    heard->health = *health;
    (void)sd_event_exit(heard->event, 0);
}

static void
old_signatures(struct health_signatures *ret, void *data)
{
    (void)data;
    ret->old = true;
}

/* The child measures, the watch judges: more memory is asked for than any machine has. */
static void
watch_until_told(const struct place *place, guint64 memory, const struct health *before,
                 unsigned needed, struct heard *heard)
{
    struct settings settings = {.engine_dir = place->dir,
                                .signatures_dir = place->dir,
                                .health_interval = 1,
                                .health_window = needed,
                                .health_needed = needed,
                                .health_pressure = 100,
                                .health_memory = memory};
    struct health_watch *watch = NULL;
    assert_true(sd_event_new(&heard->event) >= 0);
    assert_int_equal(
        health_watch_new(heard->event, &settings, before, on_health, old_signatures, heard, &watch),
        0);
    assert_int_equal(sd_event_loop(heard->event), 0);
    health_watch_free(watch);
    sd_event_unref(heard->event);
}

static void
test_watch(void **state)
{
    struct heard heard = {0};
    struct health before = {{0}};
    watch_until_told(*state, 1ULL << 60, NULL, 1, &heard);
    assert_int_equal(heard.health.level[HEALTH_MEMORY_SHORT], HEALTH_RED);
    assert_int_equal(heard.health.level[HEALTH_SIGNATURES_OLD], HEALTH_YELLOW);
    /* One look is not enough for red, and is enough for yellow at the start. */
    watch_until_told(*state, 1ULL << 60, NULL, 2, &heard);
    assert_int_equal(heard.health.level[HEALTH_MEMORY_SHORT], HEALTH_YELLOW);
    /* The predecessor had it red; one better look does not change that. */
    before.level[HEALTH_MEMORY_SHORT] = HEALTH_RED;
    watch_until_told(*state, 0, &before, 2, &heard);
    assert_int_equal(heard.health.level[HEALTH_MEMORY_SHORT], HEALTH_RED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge_memory),
        cmocka_unit_test(test_judge_storage),
        cmocka_unit_test(test_judge_clock),
        cmocka_unit_test(test_judge_signatures),
        cmocka_unit_test_setup_teardown(test_measure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "ocf.h"
#include "process-find.h"
#include "process-kind.h"
#include "peer.h"
#include "role.h"
#include "score.h"
#include "tool.h"
#include "witness.h"

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

/* A loss counts for HOLD seconds, whatever the engine and the stage are by then. */
static const struct {
    const char *what;
    enum role_stage stage;
    gint64 ago; /* of the loss; -1: none was seen yet */
    enum score_engine engine;
    int promotion;
    gint64 fell_ago; /* afterwards; -1: forgotten */
    gint64 recheck;
} held_rows[] = {
    {"lost now", ROLE_SERVING, -1, SCORE_ENGINE_DEAD, SCORE_PLOST, 0, 0},
    {"ready again", ROLE_SERVING, 1, SCORE_ENGINE_READY, SCORE_PLOST, 1, SCORE_HOLD - 1},
    {"lost twice", ROLE_SERVING, 2, SCORE_ENGINE_LOADING, SCORE_PLOST, 2, 0},
    {"moves away", ROLE_LEAVING, 3, SCORE_ENGINE_READY, SCORE_PLOST, 3, SCORE_HOLD - 3},
    {"has moved", ROLE_STANDBY, 4, SCORE_ENGINE_READY, SCORE_PLOST, 4, SCORE_HOLD - 4},
    {"has moved, loads", ROLE_STANDBY, 4, SCORE_ENGINE_LOADING, SCORE_LOAD, 4, 0},
    {"last second", ROLE_SERVING, 14, SCORE_ENGINE_READY, SCORE_PLOST, 14, 1},
    {"nobody took over", ROLE_SERVING, SCORE_HOLD, SCORE_ENGINE_READY, SCORE_READY, -1, 0},
    {"loads for long", ROLE_SERVING, 99, SCORE_ENGINE_LOADING, SCORE_PLOST, 99, 0},
    {"loaded for long", ROLE_SERVING, 99, SCORE_ENGINE_READY, SCORE_READY, -1, 0},
    {"passive, loads for long", ROLE_STANDBY, 99, SCORE_ENGINE_LOADING, SCORE_LOAD, -1, 0},
};

static void
test_score_held(void **state)
{
    const gint64 now = 1000;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(held_rows); i++) {
        struct role role = {.stage = held_rows[i].stage,
                            .since = 1,
                            .fell = held_rows[i].ago < 0 ? 0 : now - held_rows[i].ago};
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

/* Where nobody could have taken over the loss is forgotten at once; all else is as it was. */
static void
test_score_held_for_a_peer(void **state)
{
    const gint64 now = 1000;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(held_rows); i++) {
        struct role role = {.stage = held_rows[i].stage,
                            .fell = held_rows[i].ago < 0 ? 0 : now - held_rows[i].ago};
        struct score_state engine = {.engine = held_rows[i].engine};
        const struct score plain = score_compute(&role, &engine, KEEP, now);
        bool held = engine.engine == SCORE_ENGINE_READY && plain.promotion == SCORE_PLOST;
        struct score got = plain;
        score_hold(true, &got);
        assert_int_equal(got.promotion, plain.promotion);
        assert_int_equal(got.fell, plain.fell);
        assert_int_equal(got.recheck_s, held ? 1 : plain.recheck_s);
        got = plain;
        score_hold(false, &got);
        assert_int_equal(got.promotion, held ? SCORE_READY : plain.promotion);
        assert_int_equal(got.fell, held ? 0 : plain.fell);
        assert_int_equal(got.recheck_s, held ? 0 : plain.recheck_s);
    }
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

static void
test_role_file(void **state)
{
    struct roles *roles = NULL;
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "role", NULL);
    g_autofree char *lock = g_build_filename(dir, "lock", NULL);
    assert_int_equal(roles_open(dir, &roles), 0);
    assert_null(roles_find(roles, "mail.scanner-1"));
    struct role *role = roles_get(roles, "mail.scanner-1");
    assert_int_equal(role->score, -1);
    role->node = g_strdup("n1");
    role->mode = ROLE_PRIMITIVE;
    role_set_stage(role, ROLE_SERVING);
    role->keep = true;
    role->lost = true;
    role->fell = 77;
    role->engine_dir = g_strdup("/run/x y");
    role->text = g_strdup("ready (1)");
    role->score = 20;
    roles_get(roles, "warm")->mode = ROLE_ENGINE;
    assert_int_equal(roles_save(roles), 0);
    roles_close(roles);

    assert_int_equal(roles_open(dir, &roles), 0);
    role = roles_find(roles, "mail.scanner-1");
    assert_non_null(role);
    assert_string_equal(role->node, "n1");
    assert_int_equal(role->mode, ROLE_PRIMITIVE);
    assert_int_equal(role->stage, ROLE_SERVING);
    assert_true(role->keep && role->lost);
    assert_int_equal(role->fell, 77);
    assert_string_equal(role->engine_dir, "/run/x y");
    assert_null(role->mount);
    assert_string_equal(role->text, "ready (1)");
    assert_int_equal(role->score, 20);
    /* A clone that only keeps the engine warm is nobody's rival. */
    assert_null(roles_other(roles, "mail.scanner-1"));
    assert_ptr_equal(roles_other(roles, "warm"), role);
    roles_remove(roles, "mail.scanner-1");
    assert_null(roles_find(roles, "mail.scanner-1"));
    roles_close(roles);

    /* Half a file says nothing, and is no error: the units tell what runs. */
    assert_true(g_file_set_contents(path, "[a]\nmode=\xff\n[b", -1, NULL));
    assert_int_equal(roles_open(dir, &roles), 0);
    assert_null(roles_find(roles, "b"));
    roles_close(roles);
    assert_int_equal(roles_open("/nonexistent", &roles), -ENOENT);
    assert_int_equal(g_unlink(path), 0);
    assert_int_equal(g_unlink(lock), 0);
    assert_int_equal(g_rmdir(dir), 0);
}

/* Whoever has the file open has the lock, until it is closed. */
static void
test_role_lock(void **state)
{
    struct roles *roles = NULL;
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *lock = g_build_filename(dir, "lock", NULL);
    assert_int_equal(roles_open(dir, &roles), 0);
    int rival = open(lock, O_RDWR | O_CLOEXEC);
    assert_true(rival >= 0);
    assert_int_equal(flock(rival, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    roles_close(roles);
    assert_int_equal(flock(rival, LOCK_EX | LOCK_NB), 0);
    close(rival);
    assert_int_equal(g_unlink(lock), 0);
    assert_int_equal(g_rmdir(dir), 0);
}

static void
test_ocf_promotable(void **state)
{
    char *env[] = {(char[]){"OCF_RESOURCE_INSTANCE=mail-scanner:1"},
                   (char[]){"OCF_RESKEY_CRM_meta_promoted_max=1"},
                   (char[]){"OCF_RESKEY_CRM_meta_timeout=30000"},
                   (char[]){"OCF_RESKEY_CRM_meta_interval=7000"},
                   (char[]){"OCF_RESKEY_CRM_meta_on_node=n2"},
                   (char[]){"OCF_RESKEY_part=all"},
                   (char[]){"OCF_RESKEY_config="},
                   (char[]){"OCF_CHECK_LEVEL=10"},
                   NULL};
    struct ocf ocf;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(ocf_read(env, &ocf, &error), 0);
    assert_string_equal(ocf.resource, "mail-scanner");
    assert_string_equal(ocf.node, "n2");
    assert_true(ocf.promotable);
    assert_false(ocf.probe);
    assert_int_equal(ocf.check_level, 10);
    assert_in_range(ocf_time_left_ms(&ocf), 20000, 27000);
    assert_string_equal(ocf_param(&ocf, "part"), "all");
    assert_null(ocf_param(&ocf, "config"));
    assert_null(ocf_param(&ocf, "queue_directory"));
    ocf_clear(&ocf);
}

static void
test_ocf_primitive(void **state)
{
    char *env[] = {(char[]){"OCF_RESKEY_CRM_meta_migrate_target=n2"},
                   (char[]){"OCF_RESKEY_CRM_meta_timeout=nonsense"}, NULL};
    struct ocf ocf;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(ocf_read(env, &ocf, &error), 0);
    assert_false(ocf.promotable);
    assert_true(ocf.probe);
    assert_string_equal(ocf.target, "n2");
    assert_null(ocf.source);
    assert_in_range(ocf_time_left_ms(&ocf), 10000, 20000);
    ocf_clear(&ocf);
}

/* The name becomes an argument and a section of a file. */
static void
test_ocf_bad_name(void **state)
{
    static const char *const bad[] = {"OCF_RESOURCE_INSTANCE=", "OCF_RESOURCE_INSTANCE=-x",
                                      "OCF_RESOURCE_INSTANCE=a b", "OCF_RESOURCE_INSTANCE=a]b",
                                      "OCF_RESOURCE_INSTANCE=../x"};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct ocf ocf;
        g_autofree char *entry = g_strdup(bad[i]);
        g_autofree char *error = NULL;
        char *env[] = {entry, NULL};
        assert_int_equal(ocf_read(env, &ocf, &error), -EINVAL);
        assert_non_null(error);
        ocf_clear(&ocf);
    }
}

static void
join_name(const char *name, const char *value, void *data)
{
    g_string_append_printf(data, "%s=%s;", name, value);
}

static void
test_ocf_params(void **state)
{
    char *env[] = {(char[]){"OCF_RESKEY_b=2=3"},
                   (char[]){"OCF_RESKEY_CRM_meta_name=monitor"},
                   (char[]){"OCF_RESKEY_crm_feature_set=3.16"},
                   (char[]){"OCF_RESKEY_trace_ra=1"},
                   (char[]){"PATH=/bin"},
                   (char[]){"OCF_RESKEY_a="},
                   NULL};
    struct ocf ocf;
    g_autofree char *error = NULL;
    g_autoptr(GString) names = g_string_new(NULL);
    (void)state;
    assert_int_equal(ocf_read(env, &ocf, &error), 0);
    ocf_params_foreach(&ocf, join_name, names);
    assert_string_equal(names->str, "b=2=3;a=;");
    ocf_clear(&ocf);
}

static void
test_tool(void **state)
{
    static const char *const ok[] = {"/bin/true", NULL};
    static const char *const bad[] = {"/bin/sh", "-c", "echo one; printf 'tw\\033o\\n' >&2; exit 4",
                                      NULL};
    static const char *const clean[] = {"/bin/sh", "-c", "test -z \"$POSTERN_TEST\"", NULL};
    static const char *const hung[] = {"/bin/sleep", "60", NULL};
    static const char *const none[] = {"/nonexistent/tool", NULL};
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(tool_run(ok, 5000, &error), 0);
    assert_int_equal(setenv("POSTERN_TEST", "1", 1), 0);
    assert_int_equal(tool_run(clean, 5000, &error), 0);
    assert_null(error);
    assert_int_equal(tool_run(bad, 5000, &error), -EREMOTEIO);
    assert_string_equal(error, "/bin/sh ended with 4: tw\\x1bo");
    g_clear_pointer(&error, g_free);
    assert_int_equal(tool_run(hung, 50, &error), -ETIMEDOUT);
    g_clear_pointer(&error, g_free);
    assert_int_equal(tool_run(none, 5000, &error), -ENOENT);
}

/* The process group of a tool, as it sees it. */
static int
tool_group(void)
{
    static const char *const argv[] = {"/bin/sh", "-c", "cut -d' ' -f5 /proc/$$/stat", NULL};
    g_autofree char *text = NULL;
    g_autofree char *error = NULL;
    assert_int_equal(tool_output(argv, NULL, NULL, 20000, &text, &error), 0);
    return atoi(text);
}

static void
test_tool_shield(void **state)
{
    (void)state;
    assert_int_equal(tool_group(), getpgrp());
    tool_shield();
    assert_int_not_equal(tool_group(), getpgrp());
}

/* A peer that never stops talking does not fill this node's memory. */
static void
test_tool_endless(void **state)
{
    static const char *const argv[] = {"/bin/cat", "/dev/zero", NULL};
    g_autofree char *text = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(tool_output(argv, NULL, NULL, 120000, &text, &error), -ECANCELED);
    assert_non_null(error);
}

/* What is known and still holds stays; what does not is looked for. */
static void
test_witness(void **state)
{
    (void)state;
    g_autofree char *now = witness_read(NULL);
    g_autofree char *again = witness_read(now);
    g_autofree char *gone = witness_read("1:1 1:1");
    g_autofree char *odd = witness_read("x");
    assert_string_equal(again, now);
    assert_string_equal(gone, now);
    assert_string_equal(odd, now);
    assert_ptr_equal(strchr(now, ' '), strrchr(now, ' '));
}

static void
test_unit_quote(void **state)
{
    (void)state;
    g_autofree char *got = unit_quote("-/a b\"c\\d%e\n");
    assert_string_equal(got, "\"-/a b\\\"c\\\\d%%e\\x0a\"");
}

/* What a supervisor writes is read again; a damaged record is none. */
static void
test_process_record(void **state)
{
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    struct process_record got;
    char status[] = "no room\nReady=1";
    struct process_record record = {.supervisor = {.pid = 77, .start = 123456789012},
                                    .main = {.pid = 78, .start = 5},
                                    .condition = UNIT_RESPAWNING,
                                    .up_until = 99,
                                    .starts = 3,
                                    .status = status};
    (void)state;
    assert_int_equal(process_record_read(dir, "x.service", &got), -ENOENT);
    assert_int_equal(process_record_write(dir, "x.service", &record), 0);
    assert_int_equal(process_record_read(dir, "x.service", &got), 0);
    assert_int_equal(got.supervisor.pid, 77);
    assert_true(got.supervisor.start == 123456789012);
    assert_int_equal(got.main.pid, 78);
    assert_int_equal(got.condition, UNIT_RESPAWNING);
    assert_int_equal(got.up_until, 99);
    assert_int_equal(got.starts, 3);
    assert_string_equal(got.status, status);
    process_record_clear(&got);
    g_autofree char *path = g_build_filename(dir, "x.service.process", NULL);
    assert_true(g_file_set_contents(path, "[process]\ncondition=up\nsupervisor=1\n", -1, NULL));
    assert_int_equal(process_record_read(dir, "x.service", &got), -EBADMSG);
    assert_true(g_file_set_contents(path, "[process]\ncondition=odd\nsupervisor=7\n", -1, NULL));
    assert_int_equal(process_record_read(dir, "x.service", &got), -EBADMSG);
    process_record_remove(dir, "x.service");
    assert_int_equal(rmdir(dir), 0);
}

/* By number and start time; a session and what descends from it, however it left. */
static void
test_process_find(void **state)
{
    int pair[2];
    char byte = 0;
    (void)state;
    assert_int_equal(pipe(pair), 0);
    pid_t leader = fork();
    if (leader == 0) {
        (void)setsid();
        if (fork() == 0) {
            (void)setsid(); /* a child that has left the session */
            (void)fork();
            (void)write(pair[1], "x", 1);
            pause();
        }
        pause();
    }
    assert_int_equal(read(pair[0], &byte, 1), 1);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    struct process_group group = {
        .name = "no-such.service",
        .supervisor = {.pid = leader, .start = process_start_time(leader)}};
    struct process_id wrong = {.pid = leader, .start = group.supervisor.start + 1};
    assert_true(process_id_lives(&group.supervisor));
    assert_false(process_id_lives(&wrong));
    assert_int_equal(process_count(&group), 2);
    assert_int_equal(process_signal(&wrong, SIGKILL), 0);
    assert_true(process_id_lives(&group.supervisor));
    struct process_group stranger = {.name = "no-such.service", .supervisor = wrong};
    assert_int_equal(process_count(&stranger), 0);
    assert_int_equal(process_signal_all(&group, SIGKILL), 2);
    assert_int_equal(process_signal(&group.supervisor, SIGKILL), 0);
    assert_int_equal(waitpid(leader, NULL, 0), leader);
    assert_false(process_id_lives(&group.supervisor));
    while (process_count(&group) > 0) {
        g_usleep(1000);
    }
    close(pair[0]);
    close(pair[1]);
}

/* KEY=SECONDS of a unit's text; 0 when it is not there. */
static unsigned
unit_seconds(const char *text, const char *key)
{
    g_autofree char *begin = g_strdup_printf("\n%s=", key);
    const char *at = strstr(text, begin);
    return at != NULL ? (unsigned)g_ascii_strtoull(at + strlen(begin), NULL, 10) : 0;
}

/* Without systemd the same holds as with it. */
static void
test_process_kinds(void **state)
{
    static const char *const names[] = {SCORE_ENGINE_UNIT, SCORE_DAEMON_UNIT, SCORE_NOTIFY_UNIT};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const struct process_kind *kind = process_kind_find(names[i]);
        g_autofree char *path = g_strconcat(UNITS "/", names[i], ".in", NULL);
        g_autofree char *text = NULL;
        assert_non_null(kind);
        assert_true(kind->burst <= 16); /* as many starts are remembered */
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_int_equal(kind->burst, unit_seconds(text, "StartLimitBurst"));
        assert_int_equal(kind->burst_s, unit_seconds(text, "StartLimitIntervalSec"));
        assert_int_equal(kind->start_s, unit_seconds(text, "TimeoutStartSec"));
        assert_int_equal(kind->stop_s, unit_seconds(text, "TimeoutStopSec"));
        assert_int_equal(kind->watchdog_s, unit_seconds(text, "WatchdogSec"));
    }
    assert_null(process_kind_find("postern-agent.service"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_table),
        cmocka_unit_test(test_score_held),
        cmocka_unit_test(test_score_held_for_a_peer),
        cmocka_unit_test(test_fell_and_stage),
        cmocka_unit_test(test_require_ready),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_keep_seconds),
        cmocka_unit_test(test_state_valid),
        cmocka_unit_test(test_state_hostile),
        cmocka_unit_test(test_state_generation),
        cmocka_unit_test(test_state_health),
        cmocka_unit_test(test_process_record),
        cmocka_unit_test(test_process_find),
        cmocka_unit_test(test_process_kinds),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_role_file),
        cmocka_unit_test(test_role_lock),
        cmocka_unit_test(test_ocf_promotable),
        cmocka_unit_test(test_ocf_primitive),
        cmocka_unit_test(test_ocf_bad_name),
        cmocka_unit_test(test_ocf_params),
        cmocka_unit_test(test_tool),
        cmocka_unit_test(test_tool_shield),
        cmocka_unit_test(test_tool_endless),
        cmocka_unit_test(test_unit_quote),
        cmocka_unit_test(test_witness),
    };
    (void)g_setenv("TZ", "UTC", TRUE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
#include "role.h"
#include "score.h"
#include "tool.h"
#include "witness.h"

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

/* What was promoted here, stopped and started is likely to be one that failed (score.h). */
static void
test_role_of_a_recovered_scanner(void **state)
{
    struct roles *roles = NULL;
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "role", NULL);
    g_autofree char *lock = g_build_filename(dir, "lock", NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(roles_open(dir, &roles), 0);
        assert_null(roles_find(roles, "scanner"));
        struct role *role = roles_get(roles, "scanner");
        assert_int_equal(role->fell > 0, i == 2);
        if (i == 1) {
            role_set_stage(role, ROLE_TAKING);
            role_set_stage(role, ROLE_STANDBY);
        }
        roles_remove(roles, "scanner");
        assert_int_equal(roles_save(roles), 0);
        roles_close(roles);
        /* Nothing that an older Postern would take for a resource. */
        g_autofree char *text = NULL;
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_null(strchr(text, '['));
    }
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

/* KEY=NUMBER of a unit's text; 0 when it is not there. */
static unsigned
unit_number(const char *text, const char *key)
{
    g_autofree char *begin = g_strdup_printf("\n%s=", key);
    const char *at = strstr(text, begin);
    return at != NULL ? (unsigned)g_ascii_strtoull(at + strlen(begin), NULL, 10) : 0;
}

/* Without systemd the same holds as with it. */
static void
test_process_kinds(void **state)
{
    static const char *const names[] = {SCORE_ENGINE_UNIT, SCORE_DAEMON_UNIT, SCORE_NOTIFY_UNIT,
                                        SCORE_UPDATE_UNIT, SCORE_SHARE_UNIT};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const struct process_kind *kind = process_kind_find(names[i]);
        g_autofree char *path = g_strconcat(UNITS "/", names[i], ".in", NULL);
        g_autofree char *text = NULL;
        assert_non_null(kind);
        assert_true(kind->burst <= 16); /* as many starts are remembered */
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_int_equal(kind->burst, unit_number(text, "StartLimitBurst"));
        assert_int_equal(kind->burst_s, unit_number(text, "StartLimitIntervalSec"));
        assert_int_equal(kind->start_s, unit_number(text, "TimeoutStartSec"));
        assert_int_equal(kind->stop_s, unit_number(text, "TimeoutStopSec"));
        assert_int_equal(kind->watchdog_s, unit_number(text, "WatchdogSec"));
        assert_int_equal(kind->stands_back, strstr(text, "\nLimitNICE=+0\n") != NULL);
    }
    assert_null(process_kind_find("postern-agent.service"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_record),
        cmocka_unit_test(test_process_find),
        cmocka_unit_test(test_process_kinds),
        cmocka_unit_test(test_role_file),
        cmocka_unit_test(test_role_of_a_recovered_scanner),
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
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands on this node, in parallel, and nodes that cannot be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "remote.h"
#include "turn.h"

static void
test_text(void **state)
{
    const char *const argv[] = {"postern", "a b", "it's", "", "$(x)", "plain-1.2/3", NULL};
    g_autofree char *text = remote_command_text(argv);
    (void)state;
    assert_string_equal(text, "postern 'a b' 'it'\\''s' '' '$(x)' plain-1.2/3");
}

static void
test_here(void **state)
{
    const char *const argv[] = {"cat", NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(remote_run(remote_local_node(), argv, "a\nb", 20, &output, &error), 0);
    assert_string_equal(output, "a\nb");
    assert_null(error);
}

static void
test_status(void **state)
{
    const char *const argv[] = {"sh", "-c", "echo out; echo first >&2; echo why >&2; exit 3", NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(remote_run(remote_local_node(), argv, NULL, 20, &output, &error), 3);
    assert_string_equal(output, "out\n");
    assert_true(g_str_has_prefix(error, remote_local_node()));
    assert_true(g_str_has_suffix(error, "ended with 3: why"));
}

static void
test_absent(void **state)
{
    const char *const argv[] = {"no-such-program-here", NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(remote_run(remote_local_node(), argv, NULL, 20, &output, &error), -ENOENT);
    assert_non_null(strstr(error, "is not installed"));
}

static void
test_timeout(void **state)
{
    const char *const argv[] = {"sleep", "60", NULL};
    g_autofree char *output = NULL;
    g_autofree char *error = NULL;
    (void)state;
    assert_int_equal(remote_run(remote_local_node(), argv, NULL, 1, &output, &error), -ETIMEDOUT);
    assert_non_null(strstr(error, "did not end in time"));
}

/* A name that nobody resolves, and one that would be an option of ssh. */
static void
test_unreachable(void **state)
{
    static const char *const nodes[] = {"node.invalid", "-oProxyCommand=false"};
    const char *const argv[] = {"true", NULL};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(nodes); i++) {
        g_autofree char *output = NULL;
        g_autofree char *error = NULL;
        assert_int_equal(remote_run(nodes[i], argv, NULL, 5, &output, &error), -EHOSTUNREACH);
        assert_true(g_str_has_prefix(error, nodes[i]));
        assert_null(output);
    }
}

static void
test_all(void **state)
{
    const char *const slow[] = {"sh", "-c", "read a; echo $a", NULL};
    struct remote_job jobs[8] = {{0}};
    char inputs[8][8];
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(jobs); i++) {
        inputs[i][0] = (char)('a' + i);
        inputs[i][1] = '\n';
        inputs[i][2] = '\0';
        jobs[i] = (struct remote_job){
            .node = remote_local_node(), .argv = slow, .input = inputs[i], .timeout_s = 60};
    }
    remote_run_all(jobs, G_N_ELEMENTS(jobs));
    for (size_t i = 0; i < G_N_ELEMENTS(jobs); i++) {
        assert_int_equal(jobs[i].result, 0);
        assert_string_equal(jobs[i].output, inputs[i]);
        remote_job_clear(&jobs[i]);
    }
}

/* One at a time, and the others learn who; a lock that nobody holds is none. */
static void
test_turn(void **state)
{
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "lock", NULL);
    g_autofree char *error = NULL;
    (void)state;
    assert_null(turn_holder(path));
    int turn = turn_take(path, "setup", &error);
    assert_true(turn >= 0);
    g_autofree char *holder = turn_holder(path);
    g_autofree char *wanted = g_strdup_printf("setup, process %d", (int)getpid());
    assert_string_equal(holder, wanted);
    assert_int_equal(turn_take(path, "remove", &error), -EBUSY);
    assert_non_null(strstr(error, wanted));
    turn_end(turn);
    assert_null(turn_holder(path));
    turn = turn_take(path, "remove", &error);
    assert_true(turn >= 0);
    turn_end(turn);
    (void)unlink(path);
    (void)rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_here),
        cmocka_unit_test(test_status),  cmocka_unit_test(test_absent),
        cmocka_unit_test(test_timeout), cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_all),     cmocka_unit_test(test_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

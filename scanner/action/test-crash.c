/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A child stores a message and ends at its n-th step, for every n: before or after each fsync,
 * rename and SQLite statement. The linker puts the step counter in (-Wl,--wrap). Then the state is
 * opened again, and what facts/mail-safety.md promises for that moment must hold; and the sender,
 * who had no answer, comes again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sqlite3.h>

#include "test-fixture.h"

#define CRASHED 99
#define MAX_STEPS 200

static int steps_left; /* 0: never crash */

/* Before and after the call are different moments. */
static void
step(void)
{
    if (steps_left > 0 && --steps_left == 0) {
        _exit(CRASHED);
    }
}

/* What was called, a letter each; NULL: nobody wants to know. */
static GString *calls;

static void
note(char letter)
{
    if (calls != NULL && letter != '\0') {
        g_string_append_c(calls, letter);
    }
}

#define WRAP(type, name, letter, parameters, arguments) \
    type __real_##name parameters;                      \
    type __wrap_##name parameters;                      \
    type __wrap_##name parameters                       \
    {                                                   \
        step();                                         \
        note(letter);                                   \
        type result = __real_##name arguments;          \
        step();                                         \
        return result;                                  \
    }

WRAP(int, fsync, 'f', (int fd), (fd))
WRAP(int, renameat, 'r', (int from, const char *a, int to, const char *b), (from, a, to, b))
WRAP(ssize_t, sendfile, 's', (int to, int from, off_t *offset, size_t n), (to, from, offset, n))
WRAP(int, sqlite3_step, '\0', (sqlite3_stmt * statement), (statement))
WRAP(int, sqlite3_exec, strcmp(sql, "COMMIT") == 0 ? 'C' : '\0',
     (sqlite3 * db, const char *sql, int (*each)(void *, int, char **, char **), void *data,
      char **error),
     (db, sql, each, data, error))

/* Returns TRUE when the child got to its end. */
static gboolean
store_in_child(struct fixture *f, int crash_at)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct state *state = fixture_open(f);
        steps_left = crash_at;
        int rc = fixture_store(state, "one", "Q1");
        _exit(rc == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
    return WEXITSTATUS(status) == 0;
}

/* What was seen after the crash: nothing; an adopted or written row. */
static int
check_after(struct fixture *f, gboolean answered)
{
    struct state *state = fixture_open(f);
    int rows = fixture_attempts(state, "one");
    int files = fixture_files(f, "");
    assert_int_equal(fixture_missing(state), 0);
    assert_int_equal(files, rows < 0 ? 0 : 1); /* no temporary file, no row or file alone */
    assert_true(rows == -1 || rows == 1);
    if (answered) {
        assert_int_equal(rows, 1);
    }
    assert_int_equal(fixture_store(state, "one", "Q2"), 0);
    assert_int_equal(fixture_attempts(state, "one"), rows < 0 ? 1 : 2);
    assert_int_equal(fixture_files(f, ""), 1);
    state_close(state);
    return rows;
}

static void
test_every_moment(void **data)
{
    (void)data;
    int moments[2] = {0, 0}; /* how often nothing was there, how often a copy */
    gboolean done = FALSE;
    for (int n = 1; !done; n++) {
        void *fresh = NULL;
        assert_true(n < MAX_STEPS);
        fixture_setup(&fresh);
        done = store_in_child(fresh, n);
        moments[check_after(fresh, done) == 1]++;
        fixture_teardown(&fresh);
    }
    /* Both sides of the rename were met, several times each. */
    assert_true(moments[0] >= 4);
    assert_true(moments[1] >= 8);
}

/* The same for the opening of the state, with a file to adopt. */
static void
test_every_moment_of_recovery(void **data)
{
    (void)data;
    gboolean done = FALSE;
    for (int n = 1; !done; n++) {
        void *fresh = NULL;
        int status = 0;
        assert_true(n < MAX_STEPS);
        fixture_setup(&fresh);
        struct fixture *f = fresh;
        (void)store_in_child(f, 0);
        g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
        g_autofree char *wal = g_strconcat(db, "-wal", NULL);
        assert_int_equal(unlink(db), 0);
        (void)unlink(wal);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            steps_left = n;
            (void)fixture_open(f);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        assert_int_equal(check_after(f, TRUE), 1);
        fixture_teardown(&fresh);
    }
}

/* A crash of the machine, unlike one of the process, shows only in the order of the calls. */
static void
test_order(void **data)
{
    struct fixture *f = *data;
    calls = g_string_new(NULL);
    struct state *state = fixture_open(f);
    assert_true(g_str_has_suffix(calls->str, "CfCC")); /* epoch, lease, recovery, record */
    g_string_truncate(calls, 0);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_true(*calls->str == 's');
    assert_string_equal(calls->str + strspn(calls->str, "s"), "frfC"); /* W2 */
    g_string_truncate(calls, 0);
    state_close(state);
    assert_string_equal(calls->str, "f"); /* the lease */
    g_string_free(g_steal_pointer(&calls), TRUE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_every_moment),
        cmocka_unit_test(test_every_moment_of_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sqlite3.h>

#include "format.h"
#include "release.h"
#include "retention.h"
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
WRAP(int, unlinkat, 'u', (int dirfd, const char *name, int flags), (dirfd, name, flags))
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

/* Runs WHAT on an opened state in a child that ends at its n-th step. TRUE: it got to its end. */
static gboolean
run_in_child(struct fixture *f, int crash_at, int (*what)(struct state *))
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct state *state = fixture_open(f);
        steps_left = crash_at;
        _exit(what(state) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == CRASHED);
    return WEXITSTATUS(status) == 0;
}

static char *
the_key(struct state *state)
{
    json_t *rows = NULL;
    assert_int_equal(fixture_list(state, 0, 10, &rows), 0);
    char *key = g_strdup(json_string_value(json_object_get(json_array_get(rows, 0), "key")));
    json_decref(rows);
    return key;
}

static int
delete_it(struct state *state)
{
    g_autofree char *key = the_key(state);
    g_autofree char *deleted = NULL;
    return retention_delete(state, key, 0, &deleted);
}

static int
expire_it(struct state *state)
{
    gboolean more = FALSE;
    return retention_step(state, g_get_real_time() / G_USEC_PER_SEC + 100 * 86400, &more);
}

/* Whole or gone, the row and the file together; and what was answered stays so. */
static void
check_gone(int (*what)(struct state *), gboolean lose_db)
{
    int moments[2] = {0, 0};
    gboolean done = FALSE;
    for (int n = 1; !done; n++) {
        void *fresh = NULL;
        assert_true(n < MAX_STEPS);
        fixture_setup(&fresh);
        struct fixture *f = fresh;
        (void)store_in_child(f, 0);
        done = run_in_child(f, n, what);
        if (lose_db) {
            g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
            g_autofree char *wal = g_strconcat(db, "-wal", NULL);
            assert_int_equal(unlink(db), 0);
            (void)unlink(wal);
        }
        struct state *state = fixture_open(f);
        gboolean there = fixture_attempts(state, "one") == 1;
        assert_int_equal(fixture_missing(state), 0);
        assert_int_equal(fixture_files(f, ""), there ? 1 : 0);
        assert_false(done && there);
        moments[there]++;
        assert_int_equal(fixture_store(state, "one", "Q2"), 0);
        state_close(state);
        fixture_teardown(&fresh);
    }
    assert_true(moments[0] >= 4);
    assert_true(moments[1] >= 4);
}

static void
test_every_moment_of_deletion(void **data)
{
    (void)data;
    check_gone(delete_it, FALSE);
    check_gone(delete_it, TRUE);
}

static void
test_every_moment_of_expiry(void **data)
{
    (void)data;
    check_gone(expire_it, FALSE);
}

/* "Sent" is what the mail server knows; the account must never say less than it. */
static int
release_it(struct state *state)
{
    struct release_ticket *ticket = NULL;
    g_autofree char *key = the_key(state);
    int rc = release_begin(state, key, NULL, 0, &ticket);
    if (rc < 0) {
        return rc;
    }
    if (creat("sent", 0600) < 0) {
        return -EIO;
    }
    rc = release_end(state, ticket, SMTP_ACCEPTED, "250 ok", FALSE, 0);
    release_ticket_free(ticket);
    return rc;
}

static void
test_every_moment_of_release(void **data)
{
    (void)data;
    int moments[3] = {0, 0, 0}; /* kept, releasing, released */
    gboolean done = FALSE;
    for (int n = 1; !done; n++) {
        void *fresh = NULL;
        json_t *rows = NULL;
        assert_true(n < MAX_STEPS);
        fixture_setup(&fresh);
        struct fixture *f = fresh;
        (void)store_in_child(f, 0);
        (void)unlink("sent");
        done = run_in_child(f, n, release_it);
        gboolean sent = unlink("sent") == 0;
        struct state *state = fixture_open(f);
        assert_int_equal(fixture_list(state, 0, 10, &rows), 0);
        const char *is = json_string_value(json_object_get(json_array_get(rows, 0), "state"));
        int moment = strcmp(is, "kept") == 0 ? 0 : strcmp(is, "releasing") == 0 ? 1 : 2;
        assert_false(sent && moment == 0);
        assert_false(!sent && moment == 2);
        assert_true(!done || moment == 2);
        moments[moment]++;
        json_decref(rows);
        state_close(state);
        fixture_teardown(&fresh);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(moments[i] >= 2);
    }
}

/* A crash of the machine, unlike one of the process, shows only in the order of the calls. */
static void
test_order(void **data)
{
    struct fixture *f = *data;
    calls = g_string_new(NULL);
    struct state *state = fixture_open(f);
    assert_true(
        g_str_has_suffix(calls->str, "CffrfCC")); /* epoch, lease, format, recovery, record */
    g_string_truncate(calls, 0);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_true(*calls->str == 's');
    assert_string_equal(calls->str + strspn(calls->str, "s"), "frfC"); /* W2 */
    g_string_truncate(calls, 0);
    state_close(state);
    assert_string_equal(calls->str, "f"); /* the lease */
    g_string_free(g_steal_pointer(&calls), TRUE);
}

/* The raise of the format: either whole, and what was kept is there. */
static void
test_every_moment_of_a_raise(void **data)
{
    (void)data;
    int seen[2] = {0, 0};
    gboolean done = FALSE;
    for (int n = 1; !done; n++) {
        void *fresh = NULL;
        int status = 0;
        assert_true(n < MAX_STEPS);
        fixture_setup(&fresh);
        struct fixture *f = fresh;
        f->fresh = FORMAT_OLDEST;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct state *state = fixture_open(f);
            (void)fixture_store(state, "one", "Q1");
            steps_left = n;
            _exit(state_raise(state, FORMAT_NEWEST, 0) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        assert_true(done || (WIFEXITED(status) && WEXITSTATUS(status) == CRASHED));
        struct state *state = fixture_open(f);
        int format = state_format(state);
        assert_true(format == FORMAT_NEWEST || (!done && format == FORMAT_OLDEST));
        seen[format == FORMAT_NEWEST]++;
        assert_int_equal(fixture_attempts(state, "one"), 1);
        assert_int_equal(state_raise(state, FORMAT_NEWEST, 0), 0);
        assert_int_equal(state_format(state), FORMAT_NEWEST);
        state_close(state);
        fixture_teardown(&fresh);
    }
    assert_true(seen[0] >= 3 && seen[1] >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, fixture_setup, fixture_teardown),
        cmocka_unit_test(test_every_moment),
        cmocka_unit_test(test_every_moment_of_recovery),
        cmocka_unit_test(test_every_moment_of_deletion),
        cmocka_unit_test(test_every_moment_of_expiry),
        cmocka_unit_test(test_every_moment_of_release),
        cmocka_unit_test(test_every_moment_of_a_raise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

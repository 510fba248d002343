/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "test-fixture.h"
#include "format.h"
#include "lease.h"
#include "quarantine.h"
#include "state.h"

static void
test_key(void **data)
{
    (void)data;
    g_autoptr(envelope_t) one = fixture_envelope("a@x", "b@x", "c@x");
    g_autoptr(envelope_t) two = fixture_envelope("a@x", "c@x", "b@x");
    g_autoptr(envelope_t) other = fixture_envelope("a@xb", "@x", "c@x");
    g_autofree char *key = quarantine_key(one, "00");
    g_autofree char *same = quarantine_key(two, "00");
    g_autofree char *body = quarantine_key(one, "01");
    g_autofree char *moved = quarantine_key(other, "00");
    assert_int_equal(strlen(key), 64);
    assert_string_equal(key, same);
    assert_string_not_equal(key, body);
    assert_string_not_equal(key, moved);
    /* The envelope's own order is not touched. */
    assert_string_equal(g_ptr_array_index(two->recipients, 0), "c@x");
}

static void
test_store_and_show(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    json_t *rows = NULL;
    json_t *meta = NULL;
    int fd = -1;
    assert_int_equal(fixture_store(state, "one", "NULQ1"), 0);
    assert_int_equal(fixture_list(state, 0, 10, &rows), 0);
    assert_int_equal(json_array_size(rows), 1);
    const json_t *row = json_array_get(rows, 0);
    assert_string_equal(json_string_value(json_object_get(row, "verdict")), "infected");
    assert_string_equal(json_string_value(json_object_get(row, "reason")), "Test.Virus");
    assert_string_equal(json_string_value(json_object_get(row, "queue_id")), "NULQ1");
    assert_string_equal(json_string_value(json_object_get(row, "subject")), "one");
    assert_string_equal(json_string_value(json_object_get(row, "client")), "h.test[192.0.2.1]");
    assert_int_equal(json_integer_value(json_object_get(row, "size")), FIXTURE_SIZE);
    assert_int_equal(json_integer_value(json_object_get(row, "attempts")), 1);

    const char *key = json_string_value(json_object_get(row, "key"));
    g_autofree char *prefix = g_strndup(key, 7);
    assert_int_equal(fixture_show(state, prefix, &meta, &fd), 0);
    assert_string_equal(json_string_value(json_object_get(meta, "key")), key);
    assert_int_equal(json_integer_value(json_object_get(meta, "attempts")), 1);
    assert_true(json_is_object(json_object_get(meta, "facts")));
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    fixture_assert_content(fd, "one");
    close(fd);
    json_decref(meta);
    json_decref(rows);
}

static void
test_show_refused(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    static const char *const bad[] = {"", "zz", "%", "*", "a'", "0123456789abcdef0", "ABC"};
    json_t *meta = NULL;
    int fd = -1;
    for (int i = 0; i < 40; i++) {
        g_autofree char *subject = g_strdup_printf("m%d", i);
        assert_int_equal(fixture_store(state, subject, "Q"), 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(fixture_show(state, bad[i], &meta, &fd), -ENOENT);
    }
    /* 40 keys begin with at most 16 different digits. */
    gboolean twice = FALSE;
    for (const char *digit = "0123456789abcdef"; *digit != '\0'; digit++) {
        const char prefix[] = {*digit, '\0'};
        int rc = fixture_show(state, prefix, &meta, &fd);
        if (rc == 0) {
            close(fd);
            json_decref(meta);
        }
        twice = twice || rc == -ENOTUNIQ;
    }
    assert_true(twice);
}

static void
test_repeat_is_an_attempt(void **data)
{
    struct fixture *f = *data;
    struct stat first;
    struct stat second;
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    g_autofree char *file = fixture_first_file(f);
    assert_int_equal(stat(file, &first), 0);
    assert_int_equal(fixture_store(state, "one", "Q2"), 0);
    assert_int_equal(stat(file, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino); /* not written again */
    assert_int_equal(fixture_store(state, "two", "Q3"), 0);
    assert_int_equal(fixture_files(f, ".eml"), 2);
    assert_int_equal(fixture_attempts(state, "one"), 2);
    assert_int_equal(fixture_attempts(state, "two"), 1);
}

static void
test_list_pages(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    gint64 before = 0;
    for (int i = 0; i < 7; i++) {
        g_autofree char *subject = g_strdup_printf("m%d", i);
        assert_int_equal(fixture_store(state, subject, "Q"), 0);
    }
    for (int page = 0, next = 6; page < 4; page++) {
        json_t *rows = NULL;
        assert_int_equal(fixture_list(state, before, 3, &rows), 0);
        assert_int_equal(json_array_size(rows), page == 3 ? 0 : page == 2 ? 1 : 3);
        for (size_t i = 0; i < json_array_size(rows); i++, next--) {
            const json_t *row = json_array_get(rows, i);
            g_autofree char *subject = g_strdup_printf("m%d", next);
            assert_string_equal(json_string_value(json_object_get(row, "subject")), subject);
            before = json_integer_value(json_object_get(row, "row"));
        }
        json_decref(rows);
    }
}

static void
test_modes(void **data)
{
    struct fixture *f = *data;
    struct stat st;
    g_autofree char *state_dir = g_build_filename(f->dir, "state", NULL);
    g_autofree char *db = g_build_filename(state_dir, "state.db", NULL);
    g_autofree char *wal = g_build_filename(state_dir, "state.db-wal", NULL);
    g_autofree char *lease = g_build_filename(state_dir, "lease", NULL);
    g_autofree char *quarantine = g_build_filename(state_dir, "quarantine", NULL);
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(stat(db, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(lease, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(quarantine, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    g_autofree char *file = fixture_first_file(f);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    /* No shared memory file: one process alone has the database. */
    g_autofree char *shm = g_build_filename(state_dir, "state.db-shm", NULL);
    assert_int_equal(access(shm, F_OK), -1);
}

static void
test_shared_storage(void **data)
{
    struct fixture *f = *data;
    g_autofree char *wal = g_build_filename(f->dir, "state/state.db-wal", NULL);
    fixture_close(fixture_open(f)); /* changes over from the other mode */
    g_free(f->settings->state_storage);
    f->settings->state_storage = g_strdup("shared");
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(access(wal, F_OK), -1);
    assert_int_equal(fixture_attempts(state, "one"), 1);
}

static void
check_refused(const struct fixture *f, int error, const char *says)
{
    struct state *state = NULL;
    g_autofree char *text = NULL;
    assert_int_equal(state_open(f->settings, FORMAT_NEWEST, &state, &text), error);
    assert_non_null(text);
    if (strstr(text, says) == NULL) {
        fail_msg("'%s' does not say '%s'", text, says);
    }
}

static void
test_dir_refused(void **data)
{
    struct fixture *f = *data;
    g_autofree char *dir = g_build_filename(f->dir, "state", NULL);
    assert_int_equal(chmod(dir, 0770), 0);
    check_refused(f, -EACCES, "can be written by others");
    assert_int_equal(chmod(dir, 0702), 0);
    check_refused(f, -EACCES, "can be written by others");
    assert_int_equal(chmod(dir, 0755), 0);
    fixture_close(fixture_open(f));
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, 4711, 4711), 0);
        check_refused(f, -EACCES, "belongs to user 4711");
        assert_int_equal(chown(dir, 0, 0), 0);
    }
    g_free(f->settings->state_dir);
    f->settings->state_dir = g_build_filename(f->dir, "absent", NULL);
    check_refused(f, -ENOENT, "mount its file system");
}

static void
test_two_processes(void **data)
{
    struct fixture *f = *data;
    int ready[2];
    int end[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    if (child == 0) {
        struct state *state = fixture_open(f);
        close(end[1]);
        ssize_t n = write(ready[1], "r", 1);
        n += read(end[0], &byte, 1); /* until the parent closes, or dies */
        (void)n;
        state_close(state);
        _exit(0);
    }
    close(end[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    g_autofree char *owner = g_strdup_printf("process %d", (int)child);
    check_refused(f, -EBUSY, owner);
    close(end[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(state_epoch(state), 2);
    close(ready[0]);
    close(ready[1]);
}

static int owner_end; /* closed: the owner ends */
static unsigned waited;

static void
on_waiting(const char *sentence)
{
    assert_non_null(strstr(sentence, "is in use by node "));
    waited++;
    if (owner_end >= 0) {
        close(owner_end);
        owner_end = -1;
    }
}

/* On storage that several nodes mount the lock of one that is gone lasts for a while. */
static void
test_waiting_for_the_lock(void **data)
{
    struct fixture *f = *data;
    struct lease *lease = NULL;
    g_autofree char *error = NULL;
    int ready[2];
    int end[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    int dir = open(f->settings->state_dir, O_RDONLY | O_DIRECTORY);
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        if (lease_acquire(dir, "x", 0, NULL, &lease, &error) < 0 ||
            lease_write(lease, 7, FALSE) < 0) {
            _exit(1);
        }
        ssize_t n = write(ready[1], "r", 1);
        n += read(end[0], &byte, 1);
        _exit(n < 0);
    }
    close(end[0]);
    owner_end = end[1];
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(lease_acquire(dir, "x", 0, on_waiting, &lease, &error), -EBUSY);
    assert_int_equal(waited, 0);
    g_clear_pointer(&error, g_free);

    /* Who is told to end does not wait on. */
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &term, NULL), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(lease_acquire(dir, "x", 3600, on_waiting, &lease, &error), -EBUSY);
    assert_int_equal(waited, 0);
    g_clear_pointer(&error, g_free);
    int signal_number = 0;
    assert_int_equal(sigwait(&term, &signal_number), 0);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &term, NULL), 0);

    assert_int_equal(lease_acquire(dir, "x", 3600, on_waiting, &lease, &error), 0);
    assert_true(waited > 0);
    assert_int_equal(lease_found_epoch(lease), 7);
    assert_int_equal(waitpid(child, NULL, 0), child);
    lease_free(lease);
    close(dir);
    close(ready[0]);
    close(ready[1]);
}

static void
test_epoch_rises(void **data)
{
    struct fixture *f = *data;
    g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
    g_autofree char *lease = g_build_filename(f->dir, "state/lease", NULL);
    for (guint64 epoch = 1; epoch < 4; epoch++) {
        g_autoptr(state_t) state = fixture_open(f);
        assert_int_equal(state_epoch(state), epoch);
    }
    /* Either place alone keeps it. */
    assert_int_equal(unlink(db), 0);
    fixture_close(fixture_open(f));
    assert_int_equal(unlink(lease), 0);
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(state_epoch(state), 5);
}

/* Another node that mounts the same file system, and does not see our lock. */
static void
test_stale(void **data)
{
    struct fixture *f = *data;
    g_autofree char *path = g_build_filename(f->dir, "state/lease", NULL);
    g_autofree char *text = NULL;
    gsize size = 0;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_true(g_file_get_contents(path, &text, &size, NULL));
    assert_int_equal(size, LEASE_SIZE);
    char *epoch = strstr(text, "\"epoch\":1");
    assert_non_null(epoch);
    epoch[strlen("\"epoch\":")] = '2';
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, text, size, 0), (ssize_t)size);
    close(fd);
    assert_int_equal(fixture_store(state, "two", "Q2"), -ESTALE);
    assert_int_equal(fixture_store(state, "one", "Q3"), -ESTALE);
    assert_int_equal(fixture_attempts(state, "one"), 1);
    state_close(state);
    /* The late one did not write "clean" over the new owner's lease. */
    g_clear_pointer(&text, g_free);
    assert_true(g_file_get_contents(path, &text, &size, NULL));
    assert_non_null(strstr(text, "\"epoch\":2"));
    assert_non_null(strstr(text, "\"clean\":false"));
}

static void
test_lease_clean(void **data)
{
    struct fixture *f = *data;
    g_autofree char *path = g_build_filename(f->dir, "state/lease", NULL);
    g_autofree char *open_text = NULL;
    g_autofree char *closed_text = NULL;
    struct state *state = fixture_open(f);
    assert_true(g_file_get_contents(path, &open_text, NULL, NULL));
    state_close(state);
    assert_true(g_file_get_contents(path, &closed_text, NULL, NULL));
    assert_non_null(strstr(open_text, "\"clean\":false"));
    assert_non_null(strstr(closed_text, "\"clean\":true"));
}

static void
test_newer_database(void **data)
{
    struct fixture *f = *data;
    struct db *db = NULL;
    g_autofree char *path = g_build_filename(f->dir, "state/state.db", NULL);
    fixture_close(fixture_open(f));
    assert_int_equal(db_open(path, FALSE, &db), 0);
    assert_int_equal(db_exec(db, "PRAGMA user_version=99"), 0);
    db_close(db, FALSE);
    check_refused(f, -EOPNOTSUPP, "newer Postern");
    assert_int_equal(fixture_kept_aside(f), 0);
}

static void
test_low_water(void **data)
{
    struct fixture *f = *data;
    struct state *state = fixture_open(f);
    assert_false(state_is_full(state));
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    state_close(state);
    f->settings->state_low_water = G_MAXINT64;
    state = fixture_open(f);
    assert_true(state_is_full(state));
    assert_int_equal(fixture_store(state, "two", "Q2"), -ENOSPC);
    assert_int_equal(fixture_store(state, "one", "Q3"), 0); /* its copy is kept already */
    assert_int_equal(fixture_attempts(state, "one"), 2);
    assert_int_equal(fixture_files(f, ""), 1);
    state_close(state);
}

/* The file still fits, the row does not: nobody was promised anything, so nothing stays. */
static void
test_full_database(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    int rc = 0;
    int kept = 0;
    assert_int_equal(db_exec(state_db(state), "PRAGMA max_page_count=1"), 0); /* no more pages */
    for (; rc == 0; kept++) {
        g_autofree char *subject = g_strdup_printf("m%d", kept);
        assert_true(kept < 1000);
        rc = fixture_store(state, subject, "Q");
    }
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(fixture_files(f, ""), kept - 1);
    assert_int_equal(db_exec(state_db(state), "PRAGMA max_page_count=100000"), 0);
    assert_int_equal(fixture_store(state, "last", "Q"), 0);
    assert_int_equal(fixture_files(f, ""), kept);
}

/* In a mount namespace of its own: returns the child's exit status. */
static void
full_disk(struct fixture *f)
{
    g_autofree char *dir = g_build_filename(f->dir, "state", NULL);
    g_autofree char *filler = g_build_filename(dir, "filler", NULL);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("test", dir, "tmpfs", 0, "size=1M,mode=0700") < 0) {
        _exit(77);
    }
    f->settings->state_low_water = 0;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    g_autofree char *junk = g_malloc0(65536);
    while (write(fd, junk, 65536) > 0) {
    }
    close(fd);
    int rc = 0;
    for (int i = 0; i < 200 && rc == 0; i++) { /* fills what SQLite had in reserve */
        rc = fixture_store(state, "one", "Q2");
    }
    assert_int_equal(fixture_store(state, "two", "Q3"), -ENOSPC);
    assert_int_equal(fixture_files(f, ""), 1);
    state_close(state);
    /* Even so the service starts: clean mail needs no room. */
    state = fixture_open(f);
    assert_int_equal(state_epoch(state), 2);
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(fixture_store(state, "two", "Q3"), 0);
    assert_int_equal(fixture_attempts(state, "two"), 1);
    state_close(state);
}

static void
test_full_disk(void **data)
{
    int status = 0;
    if (geteuid() != 0) {
        skip();
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        full_disk(*data);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(status, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key),   T(test_store_and_show), T(test_show_refused),
        T(test_repeat_is_an_attempt), T(test_list_pages),     T(test_modes),
        T(test_shared_storage),       T(test_dir_refused),    T(test_two_processes),
        T(test_waiting_for_the_lock), T(test_epoch_rises),    T(test_stale),
        T(test_lease_clean),          T(test_newer_database), T(test_low_water),
        T(test_full_database),        T(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

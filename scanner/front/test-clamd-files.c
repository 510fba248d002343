/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that clients name or pass, from the walk to the scan; and what may block. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "fake-pool.h"
#include "clamd-file.h"
#include "clamd-tree.h"

#define TIMEOUT_US (60 * G_USEC_PER_SEC)

static struct {
    char *dir;
    char *roots[2];
    struct pool pool;
    struct settings settings;
    struct spool_budget budget;
    struct clamd_services services;
    GString *said;
    bool ended;
    bool clean;
    bool takes;
} t;

static void
put(const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(t.dir, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    assert_int_equal(g_mkdir_with_parents(parent, 0700), 0);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

static int
setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    t.roots[0] = t.dir;
    t.said = g_string_new(NULL);
    t.takes = true;
    t.settings.clamd_paths = t.roots;
    t.settings.message_size = 1000;
    t.budget.limit = 4000;
    t.pool.ready = true;
    assert_true(sd_event_new(&t.pool.event) >= 0);
    t.services = (struct clamd_services){
        .event = t.pool.event,
        .settings = &t.settings,
        .pool = &t.pool,
        .budget = &t.budget,
        .parallel = 3,
        .scans = clamd_scans_new(&t.pool, 2),
    };
    assert_int_equal(clamd_memory_new(t.pool.event, &t.budget, &t.services.memory), 0);
    assert_int_equal(offload_new(t.pool.event, TIMEOUT_US, &t.services.offload), 0);
    return 0;
}

static int
teardown(void **state)
{
    g_autofree char *command = g_strdup_printf("rm -r '%s'", t.dir);
    (void)state;
    clamd_scans_free(t.services.scans);
    offload_free(t.services.offload);
    clamd_memory_free(t.services.memory);
    sd_event_unref(t.pool.event);
    assert_int_equal(t.budget.used, 0);
    g_string_free(t.said, TRUE);
    int rc = g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL) ? 0 : -1;
    g_free(t.dir);
    return rc;
}

static void
run_until(const bool *flag)
{
    while (!*flag) {
        assert_true(sd_event_run(t.pool.event, TIMEOUT_US) > 0);
    }
}

/* --- a tree --------------------------------------------------------------------------------- */

static void
on_result(void *owner, const char *path, const struct clamd_verdict *verdict)
{
    (void)owner;
    g_string_append_printf(
        t.said, "%s %s;", g_str_has_prefix(path, t.dir) ? path + strlen(t.dir) : path,
        verdict->names != NULL ? (char *)g_ptr_array_index(verdict->names, 0) : verdict->error);
}

static gboolean
on_takes(void *owner)
{
    (void)owner;
    return t.takes;
}

static void
on_ended(void *owner, gboolean clean)
{
    (void)owner;
    t.ended = true;
    t.clean = clean;
}

static const struct clamd_tree_ops ops = {
    .result = on_result,
    .takes = on_takes,
    .ended = on_ended,
};

static void
check_tree(const char *name, guint parallel, bool stop, bool clean, const char *said)
{
    const struct clamd_tree_options options = {.stop = stop, .parallel = parallel};
    g_autofree char *path = g_strconcat(t.dir, name, NULL);
    t.ended = false;
    g_string_truncate(t.said, 0);
    struct clamd_tree *tree = clamd_tree_start(&t.services, path, &options, &ops, NULL);
    run_until(&t.ended);
    clamd_tree_free(tree);
    assert_string_equal(t.said->str, said);
    assert_int_equal(t.clean, clean);
    assert_int_equal(t.pool.running, 0);
}

static void
test_tree_answers(void **state)
{
    g_autofree char *link = g_build_filename(t.dir, "clean/link", NULL);
    g_autofree char *big = g_strnfill(1001, 'b');
    (void)state;
    put("clean/a", "a");
    put("clean/sub/b", "b");
    put("clean/empty", "");
    assert_int_equal(symlink("/etc", link), 0);
    put("bad/v", "VIRUS");
    put("error/f", "FAIL");
    put("error/ok", "fine");
    put("big/b", big);
    check_tree("/clean", 1, false, true, "");
    assert_int_equal(t.pool.scans, 2);
    check_tree("/clean/", 3, false, true, "");
    check_tree("/clean/empty", 1, true, true, "");
    check_tree("/bad", 3, false, false, "/bad/v Test.Virus;");
    check_tree("/error", 3, false, false, "/error/f two workers died;");
    check_tree("/big/b", 1, true, false, "/big/b " CLAMD_TOO_LARGE ";");
    check_tree("/none", 1, true, false,
               "/none File path check failure: No such file or directory.;");
    check_tree("/clean/link", 1, true, false, "/clean/link Symbolic links are not followed.;");
    check_tree("/clean/link/passwd", 1, true, false,
               "/clean/link/passwd Symbolic links are not followed.;");
    check_tree("/../etc", 1, true, false, "/../etc Path is not below a directory of clamd_paths.;");
    check_tree("x", 1, true, false, "x Path is not below a directory of clamd_paths.;");
}

static void
test_stops_at_the_first(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        g_autofree char *name = g_strdup_printf("many/%d", i);
        put(name, "VIRUS");
    }
    const struct clamd_tree_options options = {.stop = TRUE, .parallel = 1};
    g_autofree char *path = g_build_filename(t.dir, "many", NULL);
    struct clamd_tree *tree = clamd_tree_start(&t.services, path, &options, &ops, NULL);
    run_until(&t.ended);
    clamd_tree_free(tree);
    assert_int_equal(t.pool.scans, 1);
}

/* A client that goes away in the middle: nothing is called any more, no memory stays. */
static void
test_abandoned(void **state)
{
    (void)state;
    put("many/1", "HANG");
    put("many/2", "HANG");
    put("many/3", "HANG");
    const struct clamd_tree_options options = {.parallel = 3};
    g_autofree char *path = g_build_filename(t.dir, "many", NULL);
    struct clamd_tree *tree = clamd_tree_start(&t.services, path, &options, &ops, NULL);
    while (t.pool.scans < 2 || clamd_scans_waiting(t.services.scans) < 1) {
        assert_true(sd_event_run(t.pool.event, TIMEOUT_US) > 0);
    }
    clamd_tree_free(tree);
    assert_false(t.ended);
    /* Two are at workers, and keep them until they end by themselves. */
    assert_int_equal(t.pool.cancelled, 0);
    assert_int_equal(clamd_scans_waiting(t.services.scans), 0);
    assert_int_equal(t.budget.used, 8);
}

/* --- content -------------------------------------------------------------------------------- */

static void
test_copy(void **state)
{
    g_autofree char *path = g_build_filename(t.dir, "f", NULL);
    guint64 size = 0;
    char bytes[16] = {0};
    (void)state;
    put("f", "0123456789");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
    assert_int_equal(clamd_file_size(fd, &size), 0);
    assert_int_equal(size, 10);
    int copy = clamd_file_copy(fd, size);
    assert_true(copy >= 0);
    assert_int_equal(pread(copy, bytes, sizeof bytes, 0), 10);
    assert_string_equal(bytes, "0123456789");
    assert_int_equal(pwrite(copy, "x", 1, 0), -1);
    close(copy);
    /* It has grown, or shrunk, since it was measured. */
    assert_int_equal(clamd_file_copy(fd, 9), -EUCLEAN);
    assert_int_equal(clamd_file_copy(fd, 11), -EUCLEAN);
    close(fd);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(clamd_file_size(pipes[0], &size), -ENOTSUP);
    close(pipes[0]);
    close(pipes[1]);
}

/* --- what may block ------------------------------------------------------------------------- */

static int gate[2];

static int
work_block(void *data)
{
    char byte;
    (void)data;
    return read(gate[0], &byte, 1) == 1 ? 0 : -EPIPE;
}

static void
on_offload(void *owner, void *data, int rc)
{
    bool *done = owner;
    g_free(data);
    g_string_append_printf(t.said, "%d;", rc);
    *done = true;
}

static void
test_offload(void **state)
{
    struct offload *offload = NULL;
    bool done = false;
    (void)state;
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(offload_new(t.pool.event, 20000, &offload), 0);
    /* Those that hang are given up; when too many are, no more are begun. */
    for (guint i = 0; i <= OFFLOAD_STUCK_MAX; i++) {
        done = false;
        g_string_truncate(t.said, 0);
        (void)offload_start(offload, work_block, g_malloc(1), g_free, on_offload, &done);
        run_until(&done);
        g_autofree char *expected =
            g_strdup_printf("%d;", i < OFFLOAD_STUCK_MAX ? -ETIMEDOUT : -EBUSY);
        assert_string_equal(t.said->str, expected);
    }
    /* When one comes back there is room again. */
    assert_int_equal(write(gate[1], "x", 1), 1);
    g_string_truncate(t.said, 0);
    do {
        g_string_truncate(t.said, 0);
        done = false;
        (void)offload_start(offload, work_block, g_malloc(1), g_free, on_offload, &done);
        run_until(&done);
    } while (atoi(t.said->str) == -EBUSY);
    assert_int_equal(atoi(t.said->str), -ETIMEDOUT);
    /* Freed while threads hang: they end later, on their own. */
    offload_free(offload);
    close(gate[1]);
}

/* --- memory --------------------------------------------------------------------------------- */

static void
on_wake(void *data)
{
    *(bool *)data = true;
}

static void
test_memory(void **state)
{
    struct clamd_memory *memory = t.services.memory;
    struct clamd_content *content = NULL;
    struct clamd_content *other = NULL;
    bool woken = false;
    (void)state;
    /* One alone may have more than the half, but not more than there is. */
    assert_int_equal(clamd_content_new(memory, 4001, &content), -ENOBUFS);
    assert_int_equal(clamd_content_new(memory, 3000, &content), 0);
    assert_int_equal(t.budget.used, 3000);
    assert_int_equal(clamd_content_new(memory, 1, &other), -EAGAIN);
    clamd_memory_wait(memory, on_wake, &woken);
    clamd_content_free(content);
    run_until(&woken);
    assert_int_equal(t.budget.used, 0);
    /* Streams that are not complete may never end: nobody waits for them. */
    assert_int_equal(clamd_memory_take(memory, 0, 2000), 0);
    assert_int_equal(clamd_memory_take(memory, 0, 1), -ENOBUFS);
    assert_int_equal(clamd_memory_take(memory, 2000, 1), 0);
    clamd_memory_release(memory, 2001);
    clamd_memory_wait(memory, on_wake, &woken);
    clamd_memory_forget(memory, &woken);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tree_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stops_at_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abandoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

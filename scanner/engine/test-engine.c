/* SPDX-License-Identifier: GPL-2.0-only */
/* The engine's parts that need no zygote. */
#include "config.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "age.h"
#include "generation.h"
#include "groups.h"
#include "report.h"
#include "room.h"

/* What readdir(3) ends with; 0: as ever. */
static int end_of_dir;

struct dirent *
readdir(DIR *dir)
{
    struct dirent *(*real)(DIR *) = (struct dirent * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir");
    struct dirent *entry = real(dir);
    if (entry == NULL && end_of_dir != 0) {
        errno = end_of_dir;
    }
    return entry;
}

struct place {
    char *dir;
    char *link;
};

static int
setup(void **state)
{
    struct place *place = g_new0(struct place, 1);
    place->dir = g_strdup("/tmp/postern-test-engine-XXXXXX");
    if (mkdtemp(place->dir) == NULL) {
        return -1;
    }
    place->link = g_build_filename(place->dir, "current", NULL);
    *state = place;
    return 0;
}

static int
teardown(void **state)
{
    struct place *place = *state;
    g_autofree char *gen = g_build_filename(place->dir, "gen-1", NULL);
    (void)unlink(place->link);
    (void)rmdir(gen);
    int rc = rmdir(place->dir);
    g_free(place->dir);
    g_free(place->link);
    g_free(place);
    return rc;
}

static void
make_generation(const struct place *place)
{
    g_autofree char *gen = g_build_filename(place->dir, "gen-1", NULL);
    assert_int_equal(mkdir(gen, 0755), 0);
}

static void
test_no_generation(void **state)
{
    const struct place *place = *state;
    struct generation generation;
    char *error = NULL;
    assert_int_equal(generation_resolve(place->dir, &generation, &error), 0);
    assert_null(generation.name);
    assert_null(generation.path);
    assert_int_equal(generation_resolve("/nowhere", &generation, &error), 0);
}

/* EICAR alone is for a directory of which it is known that nothing lies in it. */
static void
test_missing_and_unreadable(void **state)
{
    const struct place *place = *state;
    make_generation(place);
    assert_null(generation_missing(place->dir, false));
    end_of_dir = EIO;
    g_autofree char *why = generation_missing(place->dir, false);
    end_of_dir = 0;
    assert_non_null(why);
    assert_non_null(strstr(why, "cannot be read: Input/output error"));
}

static void
test_current_generation(void **state)
{
    const struct place *place = *state;
    struct generation generation;
    char *error = NULL;
    make_generation(place);
    assert_int_equal(symlink("gen-1", place->link), 0);
    assert_int_equal(generation_resolve(place->dir, &generation, &error), 0);
    assert_string_equal(generation.name, "gen-1");
    assert_true(g_str_has_suffix(generation.path, "/gen-1"));
    generation_clear(&generation);
    g_autofree char *absolute = g_build_filename(place->dir, "gen-1", NULL);
    assert_int_equal(unlink(place->link), 0);
    assert_int_equal(symlink(absolute, place->link), 0);
    assert_int_equal(generation_resolve(place->dir, &generation, &error), 0);
    generation_clear(&generation);
}

/* A link that is wrong must not look like "no signatures yet". */
static void
test_bad_links(void **state)
{
    const struct place *place = *state;
    static const char *const targets[] = {"missing", "../etc", "/etc", ".", "..", "current", "a b"};
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        struct generation generation;
        g_autofree char *error = NULL;
        assert_int_equal(symlink(targets[i], place->link), 0);
        assert_true(generation_resolve(place->dir, &generation, &error) < 0);
        assert_non_null(strstr(error, place->link));
        assert_null(generation.name);
        assert_int_equal(unlink(place->link), 0);
    }
    struct generation generation;
    g_autofree char *error = NULL;
    assert_int_equal(mkdir(place->link, 0755), 0);
    assert_int_equal(generation_resolve(place->dir, &generation, &error), -EINVAL);
    assert_int_equal(rmdir(place->link), 0);
}

/* The report */

static char *
contents(const char *path)
{
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static int
listen_for_pokes(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof addr), 0);
    return sock;
}

static void
test_report(void **state)
{
    const struct place *place = *state;
    g_autofree char *engine_dir = g_build_filename(place->dir, "engine", NULL);
    g_autofree char *notify = g_build_filename(place->dir, "notify.sock", NULL);
    const struct settings settings = {.engine_dir = engine_dir};
    struct report report;
    char byte;
    assert_int_equal(mkdir(engine_dir, 0755), 0);
    int sock = listen_for_pokes(notify);
    report_init(&report, &settings);
    assert_int_equal(report_publish(&report, REPORT_LOADING), 0);
    assert_int_equal(recv(sock, &byte, 1, 0), 0);

    report_set_text(&report.generation, "gen-1");
    report.load_seconds = 1.5;
    assert_int_equal(report_publish(&report, REPORT_READY), 0);
    g_autofree char *line = contents(report.state_path);
    g_autofree char *expected =
        g_strdup_printf("ready %" G_GINT64_FORMAT " 1.500 gen-1\n", report.since);
    assert_string_equal(line, expected);
    assert_int_equal(recv(sock, &byte, 1, 0), 0);

    /* Nothing new: nobody is woken. */
    report.workers = 3;
    assert_int_equal(report_publish(&report, REPORT_READY), 0);
    assert_int_equal(recv(sock, &byte, 1, 0), -1);

    json_auto_t *json = report_to_json(&report);
    assert_string_equal(json_string_value(json_object_get(json, "state")), "ready");
    assert_true(json_is_null(json_object_get(json, "error")));
    assert_int_equal(json_integer_value(json_object_get(json, "workers")), 3);

    /* What a crashed engine leaves behind. */
    struct health left;
    report.health.level[HEALTH_STORAGE_FULL] = HEALTH_RED;
    report.judged = true;
    assert_int_equal(report_publish(&report, REPORT_READY), 0);
    assert_true(report_left_behind(&report, &left));
    assert_int_equal(left.level[HEALTH_STORAGE_FULL], HEALTH_RED);
    assert_true(g_file_set_contents(report.state_path, "ready 1 2 gen\n", -1, NULL));
    assert_false(report_left_behind(&report, &left));

    g_autofree char *path = g_strdup(report.state_path);
    report_clear(&report);
    assert_int_equal(access(path, F_OK), -1);
    close(sock);
    (void)unlink(notify);
    (void)rmdir(engine_dir);
}

/* Plain files in the kernel's place: what is written, and where. */

static void
put(const char *dir, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void
check(const char *dir, const char *name, const char *expected)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, expected);
}

/* DIR/NAME with the files that the kernel would make. */
static char *
group(const char *dir, const char *name)
{
    char *path = g_build_filename(dir, name, NULL);
    assert_int_equal(mkdir(path, 0755), 0);
    put(path, "cgroup.procs", "");
    put(path, "memory.max", "");
    put(path, "memory.swap.max", "");
    put(path, "pids.max", "");
    return path;
}

static void
remove_files(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    assert_non_null(dir);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        (void)unlink(file);
    }
    g_dir_close(dir);
}

static void
test_groups(void **state)
{
    const struct place *place = *state;
    g_autofree char *own = g_strdup_printf("%d\n", (int)getpid());
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    g_autofree char *why = NULL;
    g_autofree char *manager = group(place->dir, "manager");
    g_autofree char *zygote = group(place->dir, "zygote");
    g_autofree char *trial = group(place->dir, "trial");
    g_autofree char *w0 = group(place->dir, "w0");
    g_autofree char *w1 = group(place->dir, "w1");
    put(place->dir, "cgroup.controllers", "cpu memory pids\n");
    put(place->dir, "cgroup.subtree_control", "");
    put(place->dir, "cgroup.procs", own);
    struct groups *groups = groups_new_at(place->dir, 2, 12345, &why);
    assert_non_null(groups);
    check(manager, "cgroup.procs", pid);
    check(place->dir, "cgroup.subtree_control", "+memory +pids");
    check(w1, "memory.max", "12345");
    check(w1, "memory.swap.max", "0");
    check(w1, "pids.max", "1");

    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    assert_int_equal(groups_place_zygote(groups, pidfd), 0);
    assert_int_equal(groups_place_worker(groups, 1, pidfd), 0);
    check(zygote, "cgroup.procs", pid);
    check(w1, "cgroup.procs", pid);
    check(w0, "cgroup.procs", "");
    assert_int_equal(groups_place_trial(groups, pidfd, 54321, false), 0);
    check(trial, "cgroup.procs", pid);
    check(trial, "memory.max", "54321");
    assert_int_equal(groups_place_worker(groups, 1, 0), -ESRCH); /* no pidfd */
    close(pidfd);

    assert_int_equal(groups_oom_kills(groups, 1), 0);
    put(w1, "memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n");
    assert_int_equal(groups_oom_kills(groups, 1), 3);
    assert_int_equal(groups_oom_kills(groups, 0), 0);
    guint64 at_limit;
    put(trial, "memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n");
    assert_int_equal(groups_trial_oom_kills(groups, false, &at_limit), 3);
    assert_int_equal(at_limit, 2);
    assert_string_equal(groups_directory(groups), place->dir);
    groups_free(groups);

    put(place->dir, "cgroup.procs", "1\n");
    assert_null(groups_new_at(place->dir, 2, 12345, &why));
    assert_non_null(strstr(why, "delegated"));
    g_clear_pointer(&why, g_free);
    put(place->dir, "cgroup.procs", own);
    put(place->dir, "cgroup.controllers", "cpu pids\n");
    assert_null(groups_new_at(place->dir, 2, 12345, &why));
    assert_int_equal(groups_place_worker(NULL, 0, -1), 0);
    const char *const made[] = {manager, zygote, trial, w0, w1, place->dir};
    for (size_t i = 0; i < G_N_ELEMENTS(made); i++) {
        remove_files(made[i]);
    }
    for (size_t i = 0; i + 1 < G_N_ELEMENTS(made); i++) {
        assert_int_equal(rmdir(made[i]), 0);
    }
}

static void
test_age(void **state)
{
    struct age age = {0};
    struct settings settings = {.age_limit = 3600};
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    struct report report = {.generation = (char[]){"g"}};
    (void)state;
    assert_false(age_is_over(&age, &settings, &report)); /* not known */
    report.newest = now - 3000;
    assert_false(age_is_over(&age, &settings, &report));
    report.newest = now + 86400; /* the clock is behind */
    assert_false(age_is_over(&age, &settings, &report));
    report.newest = now - 4000;
    assert_int_equal(age.warned, 0);
    assert_true(age_is_over(&age, &settings, &report));
    assert_true(age.warned >= now);
    age.warned = now - 100; /* once a day is enough */
    assert_true(age_is_over(&age, &settings, &report));
    assert_int_equal(age.warned, now - 100);
    age.warned = now - 86400;
    assert_true(age_is_over(&age, &settings, &report));
    assert_true(age.warned >= now);
    report.test_only = true;
    assert_false(age_is_over(&age, &settings, &report));
    report.test_only = false;
    settings.age_limit = 0;
    assert_false(age_is_over(&age, &settings, &report));
}

static void
add_file(struct manifest *manifest, const char *name, guint64 size, guint64 signatures)
{
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    file->name = g_strdup(name);
    file->origin = g_strdup("a test");
    file->size = size;
    file->signatures = signatures;
    manifest_add(manifest, file);
}

static void
test_room_needed(void **state)
{
    const guint64 mb = 1048576;
    g_autoptr(manifest_t) old = manifest_new();
    g_autoptr(manifest_t) twice = manifest_new();
    g_autoptr(manifest_t) unknown = manifest_new();
    (void)state;
    add_file(old, "main.cvd", 100 * mb, 1000000);
    add_file(twice, "main.cld", 900 * mb, 2000000);
    add_file(unknown, "a.ndb", 50 * mb, 0);
    assert_int_equal(room_needed(twice, NULL, 0), 64 * mb + 2000000 * 200);
    assert_int_equal(room_needed(unknown, NULL, 0), (64 + 200) * mb);
    /* Twice as many signatures, whatever the files' sizes are; else the sizes, within limits. */
    assert_int_equal(room_needed(twice, old, 264 * mb), (64 + 400) * mb);
    assert_int_equal(room_needed(unknown, old, 264 * mb), (64 + 100) * mb);
    assert_int_equal(room_needed(unknown, twice, 264 * mb), (64 + 100) * mb);
    assert_int_equal(room_needed(old, unknown, 264 * mb), (64 + 400) * mb);
}

static void
test_room_in_groups(void **state)
{
    const struct place *place = *state;
    g_autofree char *below = group(place->dir, "below");
    guint64 machine = room_available(NULL);
    assert_true(machine > 0);
    put(place->dir, "memory.max", "300000\n");
    put(place->dir, "memory.current", "200000\n");
    put(below, "memory.max", "max\n");
    put(below, "memory.current", "100000\n");
    assert_int_equal(room_available(below), 100000);
    put(place->dir, "memory.stat", "anon 5\ninactive_file 30000\nactive_file 20000\n");
    assert_int_equal(room_available(below), 150000);
    /* Above this nothing is killed, but what serves would stand still. */
    put(place->dir, "memory.high", "max\n");
    put(below, "memory.high", "120000\n");
    assert_int_equal(room_available(below), 20000);
    put(below, "memory.high", "max\n");
    put(place->dir, "memory.current", "350000\n");
    assert_int_equal(room_available(below), 1);
    remove_files(below);
    assert_int_equal(rmdir(below), 0);
    remove_files(place->dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_generation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_and_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_current_generation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_report, setup, teardown),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_room_needed),
        cmocka_unit_test_setup_teardown(test_room_in_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* The built program, run against a posternd and an engine in this process. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "packet.h"
#include "test-postern.h"

static void
test_usage(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    POSTERN(b, &r, "--version");
    check(&r, 0, "postern ", "");
    POSTERN(b, &r, "--help");
    check(&r, 0, "quarantine", "");
    POSTERN(b, &r, "scan", "--help");
    check(&r, 0, "postern scan [OPTION", "");
    POSTERN(b, &r, "quarantine", "--help");
    check(&r, 0, "postern quarantine COMMAND", "");
    POSTERN(b, &r, "quarantine", "show", "--help");
    check(&r, 0, "postern quarantine show [OPTION", "");
    POSTERN(b, &r, "statsu");
    check(&r, 2, "", "unknown command statsu; did you mean status?");
    POSTERN(b, &r, "quarantine", "lst");
    check(&r, 2, "", "did you mean list?");
    POSTERN(b, &r, "xyzzy");
    check(&r, 2, "", "unknown command xyzzy; try `postern --help`");
    POSTERN(b, &r, "e\033[2Jvil");
    check(&r, 2, "", "unknown command e\\x1b[2Jvil");
    POSTERN(b, &r, "quarantine");
    check(&r, 2, "", "one of list, show");
    POSTERN(b, &r, "status", "--colour");
    check(&r, 2, "", "Unknown option --colour; try `postern status --help`");
    POSTERN(b, &r, "scan", "--infceted", "/etc/hostname");
    check(&r, 2, "", "Unknown option --infceted; did you mean --infected?");
    POSTERN(b, &r, "status", "--jsn");
    check(&r, 2, "", "did you mean --json?");
    POSTERN(b, &r, "help");
    check(&r, 0, "quarantine", "");
    POSTERN(b, &r, "help", "scan");
    check(&r, 0, "--infected", "");
    POSTERN(b, &r, "help", "quarantine", "show");
    check(&r, 0, "postern quarantine show [OPTION", "");
    POSTERN(b, &r, "help", "statsu");
    check(&r, 2, "", "did you mean status?");
    POSTERN(b, &r, "status", "now");
    check(&r, 2, "", "now: ");
    POSTERN(b, &r, "scan");
    check(&r, 2, "", "needs a file");
    POSTERN(b, &r, "--dir", "/x", "status");
    check(&r, 2, "", "exclude each other");
}

static void
test_config(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *bad = put(b, "bad.conf", "\nworkerz = 3\n");
    POSTERN(b, &r, "config", "show");
    json_t *json = json_loads(r.out, 0, NULL);
    assert_null(json);
    assert_non_null(strstr(r.out, "message_size = 100M    (default)\n"));
    assert_non_null(strstr(r.out, "state_low_water = 4096\n"));
    check(&r, 0, "state_dir = ", "");
    POSTERN(b, &r, "config", "show", "--json");
    json = json_loads(r.out, 0, NULL);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json, "state_low_water"), "value")),
        "4096");
    json_decref(json);
    check(&r, 0, "", "");
    POSTERN(b, &r, "config", "check");
    check(&r, 0, "is correct", "");
    POSTERN(b, &r, "config", "check", bad);
    check(&r, 2, "", "bad.conf:2: there is no setting 'workerz'; did you mean workers?");
    POSTERN(b, &r, "config", "check", "/nonexistent");
    check(&r, 2, "", "cannot be read");
}

static void
test_scan(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *clean = put(b, "clean", "hello");
    g_autofree char *virus = put(b, "vi\nrus", "a VIRUS");
    g_autofree char *locked = put(b, "locked", "LOCKED");
    g_autofree char *fail = put(b, "fail", "FAIL");
    POSTERN(b, &r, "scan", clean);
    check(&r, 0, "/clean: clean\n", "");
    POSTERN(b, &r, "scan", clean, virus);
    assert_non_null(strstr(r.out, "Scanned files: 2\nInfected files: 1\nNot fully scanned: 0\n"));
    check(&r, 1, "/vi\\x0arus: infected (Test.Virus)\n", "");
    POSTERN(b, &r, "scan", locked);
    check(&r, 1, "/locked: not fully scanned (encrypted: ZIP archive)\n", "");
    POSTERN(b, &r, "scan", fail);
    check(&r, 2, "/fail: error (two workers died)\n", "");
    POSTERN(b, &r, "scan", fail, virus);
    check(&r, 1, "Errors: 1\n", "");
    POSTERN(b, &r, "scan", "/nonexistent", clean);
    check(&r, 2, "/nonexistent: error (No such file or directory)\n", "");
    POSTERN(b, &r, "scan", "/dev/null");
    check(&r, 2, "not a regular file", "");
    postern(b, virus, &r, (const char *const[]){"scan", "-", NULL});
    check(&r, 1, "stdin: infected (Test.Virus)\n", "");
    b->pool.ready = false;
    b->budget.used = b->budget.limit;
    POSTERN(b, &r, "scan", clean);
    check(&r, 2, "spool_memory", "");
    b->budget.used = 0;
}

static void
test_scan_tree(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *tree = g_build_filename(b->fixture->dir, "tree", NULL);
    g_autofree char *deep = g_build_filename(tree, "deep", NULL);
    g_autofree char *fifo = g_build_filename(tree, "fifo", NULL);
    g_autofree char *link = g_build_filename(tree, "link", NULL);
    g_autofree char *empty = g_build_filename(b->fixture->dir, "empty", NULL);
    assert_int_equal(g_mkdir_with_parents(deep, 0700), 0);
    assert_int_equal(mkdir(empty, 0700), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    g_autofree char *one = put(b, "tree/one", "hello");
    g_autofree char *two = put(b, "tree/deep/two", "VIRUS");
    POSTERN(b, &r, "scan", tree);
    assert_non_null(strstr(r.out, "/tree/deep/two: infected"));
    assert_non_null(strstr(r.out, "/tree/fifo: skipped (FIFO)\n"));
    assert_non_null(strstr(r.out, "/tree/link: skipped (symbolic link)\n"));
    check(&r, 1, "Scanned directories: 2\nScanned files: 2\nInfected files: 1\n", "");
    POSTERN(b, &r, "scan", "--infected", "--no-summary", tree);
    assert_true(g_str_has_suffix(r.out, "/tree/deep/two: infected (Test.Virus)\n"));
    assert_ptr_equal(strchr(r.out, '\n') + 1, r.out + strlen(r.out));
    check(&r, 1, "", "");
    POSTERN(b, &r, "scan", "--exclude", "tw?", tree);
    check(&r, 0, "/tree/deep/two: skipped (excluded)\n", "");
    POSTERN(b, &r, "scan", "--exclude", "*/deep", tree);
    check(&r, 0, "/tree/deep: skipped (excluded)\n", "");
    POSTERN(b, &r, "scan", link);
    check(&r, 0, "/tree/link: clean", "link: a link that leads to /etc/passwd\n");
    POSTERN(b, &r, "scan", empty);
    check(&r, 0, "Scanned directories: 1\nScanned files: 0\n", "");
}

static json_t *
line_of(const char *text, int n)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    assert_true(n < (int)g_strv_length(lines));
    json_t *json = json_loads(lines[n], 0, NULL);
    assert_non_null(json);
    return json;
}

/* One object a line, whatever a file is called. */
static void
test_scan_json(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *tree = g_build_filename(b->fixture->dir, "tree", NULL);
    g_autofree char *link = g_build_filename(tree, "b", NULL);
    assert_int_equal(g_mkdir_with_parents(tree, 0700), 0);
    g_autofree char *one = put(b, "tree/a\nx", "VIRUS");
    assert_int_equal(symlink("/etc/passwd", link), 0);
    POSTERN(b, &r, "scan", "--json", tree);
    json_t *file = line_of(r.out, 0);
    json_t *skipped = line_of(r.out, 1);
    json_t *last = line_of(r.out, 2);
    assert_string_equal(json_string_value(json_object_get(file, "verdict")), "infected");
    assert_string_equal(json_string_value(json_object_get(file, "path")), one);
    assert_int_equal(json_integer_value(json_object_get(file, "size")), 5);
    assert_string_equal(json_string_value(json_object_get(skipped, "skipped")), "symbolic link");
    json_t *summary = json_object_get(last, "summary");
    assert_int_equal(json_integer_value(json_object_get(summary, "infected")), 1);
    assert_int_equal(json_integer_value(json_object_get(summary, "skipped")), 1);
    json_decref(file);
    json_decref(skipped);
    json_decref(last);
    check(&r, 1, "", "");
}

/* Several workers at once, and the output in order all the same. */
static void
test_scan_parallel(void **data)
{
    enum { FILES = 400 };
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *tree = g_build_filename(b->fixture->dir, "tree", NULL);
    assert_int_equal(g_mkdir_with_parents(tree, 0700), 0);
    for (int i = 0; i < FILES; i++) {
        g_autofree char *name = g_strdup_printf("tree/%03d", i);
        g_autofree char *path = put(b, name, i % 7 == 0 ? "VIRUS" : "hello");
    }
    b->pool.hold = 4;
    POSTERN(b, &r, "scan", "--jobs", "4", "--no-summary", tree);
    assert_int_equal(b->pool.most, 4);
    g_auto(GStrv) lines = g_strsplit(r.out, "\n", -1);
    assert_int_equal(g_strv_length(lines), FILES + 1);
    for (int i = 0; i < FILES; i++) {
        g_autofree char *ending =
            g_strdup_printf("/tree/%03d: %s", i, i % 7 == 0 ? "infected (Test.Virus)" : "clean");
        assert_true(g_str_has_suffix(lines[i], ending));
    }
    check(&r, 1, "", "");
    b->pool.hold = b->pool.most = 0;
    POSTERN(b, &r, "scan", "-j", "1", tree);
    assert_int_equal(b->pool.most, 1);
    check(&r, 1, "Infected files: 58\n", "");
}

/* What the others hold of spool_memory is no error: a file waits for them. */
static void
test_scan_little_memory(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *tree = g_build_filename(b->fixture->dir, "tree", NULL);
    assert_int_equal(g_mkdir_with_parents(tree, 0700), 0);
    for (int i = 0; i < 40; i++) {
        g_autofree char *name = g_strdup_printf("tree/%03d", i);
        g_autofree char *path = put(b, name, "hello");
    }
    guint64 limit = b->budget.limit;
    b->budget.limit = 12;
    POSTERN(b, &r, "scan", "--jobs", "6", tree);
    b->budget.limit = limit;
    check(&r, 0, "Scanned files: 40\nInfected files: 0\nNot fully scanned: 0\nErrors: 0\n", "");
}

static void
test_scan_large(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *conf = g_build_filename(b->fixture->dir, "postern.conf", NULL);
    g_autofree char *file = g_build_filename(b->fixture->dir, "large", NULL);
    FILE *append = fopen(conf, "a");
    fputs("message_size = \"5000\"\n", append);
    fclose(append);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 5000), 0);
    POSTERN(b, &r, "scan", file);
    check(&r, 0, "/large: clean", "");
    assert_int_equal(ftruncate(fd, 5001), 0);
    POSTERN(b, &r, "scan", file);
    check(&r, 1, "/large: not fully scanned (limit: larger than message_size = 5000)", "");
    close(fd);
}

/* posternd is started anew, or has closed the connection, while a slow input is read. */
static void
test_scan_connection_lost(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *clean = put(b, "clean", "hello");
    g_autofree char *fifo = g_build_filename(b->fixture->dir, "fifo", NULL);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int writer = open(fifo, O_RDWR | O_CLOEXEC); /* opens without waiting for the reader */
    postern_start(b, fifo, &r, (const char *const[]){"scan", clean, "-", NULL});
    while (b->pool.scans < 1) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    while (b->pool.running > 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    control_free(b->control);
    bench_listen(b);
    assert_int_equal(write(writer, "a VIRUS", 7), 7);
    close(writer);
    postern_wait(b, &r);
    assert_non_null(strstr(r.out, "/clean: clean\n"));
    check(&r, 1, "stdin: infected (Test.Virus)\n", "");
}

static void
test_quarantine(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    POSTERN(b, &r, "quarantine", "list");
    check(&r, 0, "The quarantine is empty.", "");
    bench_keep(b, 130);
    POSTERN(b, &r, "quarantine", "list", "--json");
    json_t *rows = json_loads(r.out, 0, NULL);
    assert_int_equal(json_array_size(rows), 130);
    check(&r, 0, "", "");
    const char *key = json_string_value(json_object_get(json_array_get(rows, 0), "key"));
    POSTERN(b, &r, "quarantine", "list");
    assert_non_null(strstr(r.out, "from@x.test"));
    assert_non_null(strstr(r.out, "to@x.test +1"));
    check(&r, 0, "infected", "");
    POSTERN(b, &r, "quarantine", "show", key);
    assert_non_null(strstr(r.out, key));
    check(&r, 0, "cc@x.test", "");
    POSTERN(b, &r, "quarantine", "show", "--json", key);
    json_t *meta = json_loads(r.out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(meta, "key")), key);
    json_decref(meta);
    check(&r, 0, "", "");
    POSTERN(b, &r, "quarantine", "show", "--raw", key);
    assert_int_equal(strlen(r.out), FIXTURE_SIZE);
    check(&r, 0, "m129m129", "");
    POSTERN(b, &r, "quarantine", "show", "--headers", key);
    check(&r, 0, "m129m129", "");
    POSTERN(b, &r, "quarantine", "show", "zz");
    check(&r, 2, "", "no such entry");
    POSTERN(b, &r, "quarantine", "show");
    check(&r, 2, "", "needs one key");
    json_decref(rows);
}

/* An engine that gives one answer to whoever asks. */
struct engine {
    int sock;
    sd_event_source *source;
    json_t *answer;
};

static int
on_question(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct engine *engine = data;
    json_t *request = NULL;
    (void)source;
    (void)events;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(client >= 0);
    assert_int_equal(packet_receive(client, &request, NULL), 1);
    assert_int_equal(packet_send(client, engine->answer, -1), 0);
    json_decref(request);
    close(client);
    return 0;
}

static void
engine_open(struct bench *b, struct engine *engine, json_t *answer)
{
    g_autofree char *path = g_build_filename(b->fixture->settings->engine_dir, "engine.sock", NULL);
    engine->answer = answer;
    engine->sock = packet_listen(path, 0600);
    assert_true(engine->sock >= 0);
    assert_true(sd_event_add_io(b->event, &engine->source, engine->sock, EPOLLIN, on_question,
                                engine) >= 0);
}

static void
engine_close(struct engine *engine)
{
    sd_event_source_disable_unref(engine->source);
    json_decref(engine->answer);
    close(engine->sock);
}

static json_t *
engine_state(const char *state, gint64 since, int test_only)
{
    struct health health = {{0}};
    health.level[HEALTH_STORAGE_ERROR] = HEALTH_RED;
    return json_pack("{s:b, s:s, s:I, s:s, s:i, s:b, s:s, s:f, s:i, s:n, s:i, s:o}", "ok", 1,
                     "state", state, "since", (json_int_t)since, "generation", "abc123",
                     "signatures", 42, "test_only", test_only, "sandbox", "namespaces, seccomp",
                     "load_seconds", 17.6, "restarts", 0, "error", "workers", 2, "health",
                     health_to_json(&health));
}

static void
test_status(void **data)
{
    struct bench *b = *data;
    struct engine engine;
    struct result r = {0};
    engine_open(b, &engine, engine_state("ready", 1000, 1));
    POSTERN(b, &r, "status");
    assert_non_null(strstr(r.out, "ready since 1970-01-01"));
    assert_non_null(strstr(r.out, "ONLY TEST SIGNATURES"));
    assert_non_null(strstr(r.out, "42, generation abc123"));
    assert_non_null(strstr(r.out, "This node  red\n           red: a disk of this node fails"));
    assert_non_null(strstr(r.out, "epoch 1"));
    assert_non_null(strstr(r.out, "unix:/m.sock, 3 connection(s)"));
    check(&r, 0, "serving", "");
    POSTERN(b, &r, "status", "--wait", "30");
    check(&r, 0, " for messages in progress\n", "");
    POSTERN(b, &r, "status");
    check(&r, 0, " free, epoch 1\n", "");
    b->pool.ready = false;
    POSTERN(b, &r, "status", "--wait", "1");
    check(&r, 1, "answering 451", "");
    POSTERN(b, &r, "status", "--json");
    json_t *json = json_loads(r.out, 0, NULL);
    assert_true(json_is_false(json_object_get(json, "ready")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json, "engine"), "state")), "ready");
    assert_true(json_is_object(json_object_get(json, "posternd")));
    json_decref(json);
    check(&r, 1, "", "");
    engine_close(&engine);
}

/* A passive node, a starting one, a stopped one. */
static void
test_status_alone(void **data)
{
    struct bench *b = *data;
    struct engine engine;
    struct result r = {0};
    control_free(g_steal_pointer(&b->control));
    POSTERN(b, &r, "status");
    check(&r, 2, "", "posternd is not running on this node");
    engine_open(b, &engine, engine_state("loading", g_get_real_time() / G_USEC_PER_SEC - 8, 0));
    POSTERN(b, &r, "status");
    assert_null(strstr(r.out, "ONLY TEST"));
    assert_non_null(strstr(r.out, " s of about 18 s"));
    check(&r, 1, "it stands by", "");
    engine_close(&engine);
    POSTERN(b, &r, "scan", "/etc/passwd");
    check(&r, 2, "", "posternd is not running");
    POSTERN(b, &r, "quarantine", "list");
    check(&r, 2, "", "posternd is not running");
}

static void
check_in_manual(const char *name, const char *value, const char *preset, const char *text,
                void *data)
{
    const char *manual = data;
    g_autofree char *item = g_strdup_printf("\n.It Va %s No (", name);
    g_autofree char *ending = g_strdup_printf("; default %s)\n", preset == NULL ? "empty" : preset);
    (void)value;
    const char *found = strstr(manual, item);
    if (found == NULL) {
        fail_msg("postern.conf(5) does not have %s", name);
    }
    g_autofree char *line = g_strndup(found + 1, strcspn(found + 1, "\n") + 1);
    if (!g_str_has_suffix(line, ending)) {
        fail_msg("postern.conf(5) says %s, but the default is %s", line, preset);
    }
    g_autofree char *description = g_strdup_printf("%s%s.\n", line, text);
    if (strstr(manual, description) == NULL) {
        fail_msg("postern.conf(5) says of %s something else than %s", name, text);
    }
}

static void
count_setting(const char *name, const char *value, const char *preset, const char *text, void *data)
{
    (void)name;
    (void)value;
    (void)preset;
    (void)text;
    ++*(int *)data;
}

/* The manual is written by hand; it must say what settings.def says, and no more. */
static void
test_manual(void **data)
{
    struct bench *b = *data;
    const char *top = g_getenv("srcdir");
    g_autofree char *path =
        g_build_filename(top == NULL ? ".." : top, "docs/man/postern.conf.5", NULL);
    g_autofree char *manual = NULL;
    int settings = 0;
    int items = 0;
    assert_true(g_file_get_contents(path, &manual, NULL, NULL));
    settings_foreach(b->fixture->settings, check_in_manual, manual);
    settings_foreach(b->fixture->settings, count_setting, &settings);
    for (const char *p = manual; (p = strstr(p, "\n.It Va ")) != NULL; p++) {
        items++;
    }
    assert_int_equal(items, settings);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_manual),        T(test_usage),
        T(test_config),        T(test_scan),
        T(test_scan_tree),     T(test_scan_json),
        T(test_scan_parallel), T(test_scan_little_memory),
        T(test_scan_large),    T(test_scan_connection_lost),
        T(test_quarantine),    T(test_status),
        T(test_status_alone),
    };
    postern_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

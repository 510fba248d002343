/* SPDX-License-Identifier: GPL-2.0-only */
/* The built program, run against a posternd and an engine in this process. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "packet.h"
#include "test-bench.h"

struct result {
    int status; /* -1 until it has ended */
    char *out;
    char *err;
};

static void
result_clear(struct result *result)
{
    g_clear_pointer(&result->out, g_free);
    g_clear_pointer(&result->err, g_free);
}

static int
on_exit_of(sd_event_source *source, const siginfo_t *info, void *data)
{
    struct result *result = data;
    (void)source;
    result->status = info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
    return 0;
}

static void
redirect(int fd, const char *path)
{
    int file = open(path, fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || dup2(file, fd) < 0) {
        _exit(127);
    }
}

/* Runs `./postern --config ... WORDS`, stdin from INPUT, while the loop serves it. */
static void
postern(struct bench *b, const char *input, struct result *result, const char *const words[])
{
    const char *argv[32] = {"postern", "--config"};
    g_autofree char *conf = g_build_filename(b->fixture->dir, "postern.conf", NULL);
    g_autofree char *out = g_build_filename(b->fixture->dir, "out", NULL);
    g_autofree char *err = g_build_filename(b->fixture->dir, "err", NULL);
    sd_event_source *source = NULL;
    size_t n = 2;
    argv[n++] = conf;
    while (*words != NULL) {
        argv[n++] = *words++;
    }
    result->status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        redirect(0, input == NULL ? "/dev/null" : input);
        redirect(1, out);
        redirect(2, err);
        execv("./postern", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(sd_event_add_child(b->event, &source, child, WEXITED, on_exit_of, result) >= 0);
    while (result->status < 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    sd_event_source_disable_unref(source);
    assert_true(g_file_get_contents(out, &result->out, NULL, NULL));
    assert_true(g_file_get_contents(err, &result->err, NULL, NULL));
}

#define POSTERN(b, result, ...) postern(b, NULL, result, (const char *const[]){__VA_ARGS__, NULL})

/* Exit status, and a text that stdout or stderr has ("" = says nothing at all). */
static void
check(struct result *result, int status, const char *out, const char *err)
{
    if (result->status != status || strstr(result->out, out) == NULL ||
        strstr(result->err, err) == NULL || (*err == '\0' && *result->err != '\0')) {
        fail_msg("status %d\n%s\n%s\nis not: status %d\n%s\n%s", result->status, result->out,
                 result->err, status, out, err);
    }
    result_clear(result);
}

static char *
put(struct bench *b, const char *name, const char *text)
{
    char *path = g_build_filename(b->fixture->dir, name, NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

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
    check(&r, 0, "FILE|DIR", "");
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
    check(&r, 2, "", "Unknown option --colour");
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
    check(&r, 2, "", "bad.conf:2: no such option 'workerz'");
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
    assert_non_null(strstr(r.out, "2 scanned: 1 clean, 1 infected, 0 not fully"));
    check(&r, 1, "/vi\\x0arus: infected (Test.Virus)\n", "");
    POSTERN(b, &r, "scan", locked);
    check(&r, 1, "/locked: not fully scanned (encrypted: ZIP archive)\n", "");
    POSTERN(b, &r, "scan", fail);
    check(&r, 2, "/fail: error (two workers died)\n", "");
    POSTERN(b, &r, "scan", fail, virus);
    check(&r, 1, "1 error(s)", "");
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
    check(&r, 1, "2 scanned: 1 clean, 1 infected", "");
    POSTERN(b, &r, "scan", "--json", tree);
    json_t *json = json_loads(r.out, 0, NULL);
    assert_int_equal(json_array_size(json), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "verdict")),
                        "infected");
    json_decref(json);
    check(&r, 1, "", "");
    POSTERN(b, &r, "scan", "--json", empty);
    check(&r, 0, "[]\n", "");
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
    check(&r, 1, "/large: not fully scanned (limit: larger than message_size)", "");
    close(fd);
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
    g_autofree char *path = g_build_filename(b->fixture->dir, "engine.sock", NULL);
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
    return json_pack("{s:b, s:s, s:I, s:s, s:i, s:b, s:s, s:i, s:i, s:n, s:i}", "ok", 1, "state",
                     state, "since", (json_int_t)since, "generation", "abc123", "signatures", 42,
                     "test_only", test_only, "sandbox", "namespaces, seccomp", "load_seconds", 18,
                     "restarts", 0, "error", "workers", 2);
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
    assert_non_null(strstr(r.out, "epoch 1"));
    assert_non_null(strstr(r.out, "unix:/m.sock, 3 connection(s)"));
    check(&r, 0, "serving", "");
    b->pool.ready = false;
    POSTERN(b, &r, "status");
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

static char *
current_of(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "current", NULL);
    return g_file_read_link(path, NULL);
}

static int
count_names(const char *dir)
{
    GDir *handle = g_dir_open(dir, 0, NULL);
    int n = 0;
    while (handle != NULL && g_dir_read_name(handle) != NULL) {
        n++;
    }
    g_clear_pointer(&handle, g_dir_close);
    return n;
}

static char *
signatures_dir(struct bench *b)
{
    g_autofree char *conf = g_build_filename(b->fixture->dir, "postern.conf", NULL);
    char *dir = g_build_filename(b->fixture->dir, "signatures", NULL);
    FILE *append = fopen(conf, "a");
    fprintf(append, "signatures_dir = \"%s\"\n", dir);
    fclose(append);
    return dir;
}

static void
test_signatures(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    struct stat st;
    mode_t mask = umask(077);
    g_autofree char *dir = signatures_dir(b);
    g_autofree char *source = g_build_filename(b->fixture->dir, "source", NULL);
    assert_int_equal(mkdir(source, 0700), 0);
    g_autofree char *one = put(b, "source/one.ndb", "one");
    g_autofree char *two = put(b, "source/two.HDB", "two");
    g_autofree char *readme = put(b, "source/README", "no signatures");
    g_autofree char *three = put(b, "three.yara", "three");
    POSTERN(b, &r, "signatures", "add", source);
    check(&r, 0, "(2 file(s), 6 bytes) is current", "");
    g_autofree char *first = current_of(dir);
    assert_int_equal(strlen(first), 16);
    g_autofree char *generation = g_build_filename(dir, first, NULL);
    g_autofree char *copy = g_build_filename(generation, "one.ndb", NULL);
    g_autofree char *manifest = g_build_filename(generation, "manifest.json", NULL);
    assert_int_equal(count_names(generation), 3);
    assert_int_equal(stat(generation, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(stat(manifest, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);

    /* The same files, named in another way and order: the same generation. */
    POSTERN(b, &r, "signatures", "add", two, one);
    check(&r, 0, "was there already", "");
    assert_int_equal(count_names(dir), 2);
    POSTERN(b, &r, "signatures", "add", "--json", source, three);
    json_t *json = json_loads(r.out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "files")), 3);
    json_decref(json);
    check(&r, 0, "", "");
    g_autofree char *second = current_of(dir);
    assert_string_not_equal(first, second);
    assert_int_equal(count_names(dir), 3);

    /* Other content under the same name is another generation; back again is the first. */
    g_free(put(b, "source/one.ndb", "ONE"));
    POSTERN(b, &r, "signatures", "add", source);
    check(&r, 0, "is current", "");
    assert_int_equal(count_names(dir), 4);
    POSTERN(b, &r, "signatures", "add", generation);
    check(&r, 0, "was there already", "");
    g_autofree char *again = current_of(dir);
    assert_string_equal(again, first);
    umask(mask);
}

static void
test_signatures_refused(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *dir = signatures_dir(b);
    g_autofree char *source = g_build_filename(b->fixture->dir, "source", NULL);
    g_autofree char *none = g_build_filename(b->fixture->dir, "none", NULL);
    g_autofree char *fifo = g_build_filename(b->fixture->dir, "fifo.ndb", NULL);
    assert_int_equal(mkdir(source, 0700), 0);
    assert_int_equal(mkdir(none, 0700), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    g_autofree char *one = put(b, "source/one.ndb", "one");
    g_autofree char *twin = put(b, "one.ndb", "twin");
    g_autofree char *readme = put(b, "none/README", "no signatures");
    g_autofree char *empty = put(b, "empty.ndb", "");
    g_autofree char *dotted = put(b, ".ndb", "x");
    POSTERN(b, &r, "signatures", "add", source);
    check(&r, 0, "is current", "");
    g_autofree char *current = current_of(dir);
    const struct {
        const char *path;
        const char *says;
    } bad[] = {
        {twin, "have the same name"},
        {none, "has no signature files"},
        {readme, "not a signature file"},
        {empty, "is empty"},
        {dotted, "not a signature file"},
        {fifo, "not a regular file"},
        {"", "an empty path"},
        {"/nonexistent", "No such file or directory"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        POSTERN(b, &r, "signatures", "add", source, bad[i].path);
        check(&r, 2, "", bad[i].says);
        g_autofree char *now = current_of(dir);
        assert_string_equal(now, current);
        assert_int_equal(count_names(dir), 2);
    }
    POSTERN(b, &r, "signatures", "add");
    check(&r, 2, "", "needs a signature file");
}

/* What a maker that was killed left behind is cleared by the next one. */
static void
test_signatures_after_crash(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *dir = signatures_dir(b);
    g_autofree char *half = g_build_filename(dir, ".tmp-generation", NULL);
    g_autofree char *link = g_build_filename(dir, ".tmp-current", NULL);
    g_autofree char *one = put(b, "one.ndb", "one");
    assert_int_equal(g_mkdir_with_parents(half, 0700), 0);
    g_free(put(b, "signatures/.tmp-generation/x.ndb", "half"));
    assert_int_equal(symlink("nowhere", link), 0);
    POSTERN(b, &r, "signatures", "add", one);
    check(&r, 0, "(1 file(s), 3 bytes) is current", "");
    assert_int_equal(count_names(dir), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_usage),
        T(test_config),
        T(test_scan),
        T(test_scan_tree),
        T(test_scan_large),
        T(test_quarantine),
        T(test_status),
        T(test_status_alone),
        T(test_signatures),
        T(test_signatures_refused),
        T(test_signatures_after_crash),
    };
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    g_setenv("LC_ALL", "C", TRUE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "packet.h"
#include "format.h"
#include "test-bench.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

static int
client_new(const struct bench *b)
{
    int sock = packet_connect(b->fixture->settings->control_socket);
    assert_true(sock >= 0);
    return sock;
}

static void
send_text(int sock, const char *text)
{
    assert_int_equal(send(sock, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static json_t *
receive(struct bench *b, int sock, int *ret_fd)
{
    json_t *answer = NULL;
    bench_wait(b, sock);
    assert_int_equal(packet_receive(sock, &answer, ret_fd), 1);
    return answer;
}

static void
check_closed(struct bench *b, int sock)
{
    json_t *answer = NULL;
    bench_wait(b, sock);
    assert_int_equal(packet_receive(sock, &answer, NULL), 0);
}

static void
check_refused(struct bench *b, int sock, const char *says)
{
    json_t *answer = receive(b, sock, NULL);
    const char *error = json_string_value(json_object_get(answer, "error"));
    assert_true(json_is_false(json_object_get(answer, "ok")));
    assert_non_null(error);
    if (strstr(error, says) == NULL) {
        fail_msg("'%s' does not say '%s'", error, says);
    }
    json_decref(answer);
}

static void
test_status(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    b->counters.infected = 17;
    for (int round = 0; round < 3; round++) { /* one connection, several questions */
        send_text(sock, "{\"op\":\"status\"}");
        json_t *answer = receive(b, sock, NULL);
        assert_true(json_is_true(json_object_get(answer, "ok")));
        assert_true(json_is_true(json_object_get(answer, "ready")));
        assert_int_equal(json_integer_value(json_object_get(answer, "epoch")), 1);
        const json_t *counters = json_object_get(answer, "counters");
        assert_int_equal(json_integer_value(json_object_get(counters, "infected")), 17);
        assert_int_equal(json_object_size(counters), sizeof b->counters / sizeof(guint64));
        assert_int_equal(json_array_size(json_object_get(answer, "milter")), 1);
        json_decref(answer);
    }
    close(sock);
}

/* Overload is shown; the cluster is told of the storage alone. */
static void
test_health(void **data)
{
    struct bench *b = *data;
    g_autofree char *run = g_path_get_dirname(b->fixture->settings->engine_dir);
    g_autofree char *path = g_build_filename(run, "posternd.health", NULL);
    g_autofree char *text = NULL;
    b->pool.queued = 7;
    b->budget.used = b->budget.limit;
    bench_settle(b);
    const struct health *now = service_health_now(b->health);
    assert_int_equal(now->level[HEALTH_BUSY_WORKERS], HEALTH_YELLOW);
    assert_int_equal(now->level[HEALTH_BUSY_MEMORY], HEALTH_YELLOW);
    assert_int_equal(health_worst(now), HEALTH_YELLOW);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, "green\n");

    int sock = client_new(b);
    send_text(sock, "{\"op\":\"status\"}");
    json_t *answer = receive(b, sock, NULL);
    const json_t *health = json_object_get(answer, "health");
    assert_string_equal(json_string_value(json_object_get(health, "level")), "yellow");
    assert_int_equal(json_array_size(json_object_get(health, "causes")), 2);
    json_decref(answer);
    close(sock);
    b->budget.used = 0;
    service_health_state_failed(b->health);
    g_clear_pointer(&text, g_free);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, "state-error=yellow\n");
    assert_int_equal(unlink(path), 0);
}

static void
test_health_judge(void **data)
{
    struct service_measure m = {.memory_limit = 100};
    (void)data;
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        assert_int_equal(service_health_judge((enum health_cause)i, &m), HEALTH_GREEN);
    }
    m = (struct service_measure){.state_full = true,
                                 .state_wait_s = SERVICE_HEALTH_SLOW_S,
                                 .mta_unreachable = true,
                                 .queued = 1,
                                 .memory_limit = 100,
                                 .memory_used = 76};
    static const enum health_cause all[] = {HEALTH_STATE_FULL, HEALTH_STATE_SLOW, HEALTH_MTA_PATH,
                                            HEALTH_BUSY_WORKERS, HEALTH_BUSY_MEMORY};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        assert_int_equal(service_health_judge(all[i], &m), HEALTH_YELLOW);
    }
    assert_int_equal(service_health_judge(HEALTH_STORAGE_FULL, &m), HEALTH_GREEN);
    m = (struct service_measure){
        .state_wait_s = SERVICE_HEALTH_SLOW_S - 1, .memory_limit = 100, .memory_used = 75};
    assert_int_equal(service_health_judge(HEALTH_STATE_SLOW, &m), HEALTH_GREEN);
    assert_int_equal(service_health_judge(HEALTH_BUSY_MEMORY, &m), HEALTH_GREEN);
}

static void
test_finish_upgrade(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    send_text(sock, "{\"op\":\"finish-upgrade\"}");
    check_refused(b, sock, "needs a format");
    send_text(sock, "{\"op\":\"finish-upgrade\",\"format\":99}");
    check_refused(b, sock, "does not know that format");
    send_text(sock, "{\"op\":\"finish-upgrade\",\"format\":3}");
    json_t *answer = receive(b, sock, NULL);
    assert_int_equal(json_integer_value(json_object_get(answer, "was")), FORMAT_OLDEST);
    assert_int_equal(json_integer_value(json_object_get(answer, "format")), 3);
    json_decref(answer);
    send_text(sock, "{\"op\":\"status\"}");
    answer = receive(b, sock, NULL);
    assert_int_equal(json_integer_value(json_object_get(answer, "state_format")), 3);
    assert_int_equal(json_array_size(json_object_get(answer, "state_formats")), 2);
    json_decref(answer);
    close(sock);
}

static void
test_unknown(void **data)
{
    static const char *const requests[] = {"{}", "{\"op\":7}", "{\"op\":\"\"}",
                                           "{\"op\":\"shutdown\"}",
                                           "{\"op\":\"evil\\n\\u001b[2J\"}"};
    struct bench *b = *data;
    int sock = client_new(b);
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        send_text(sock, requests[i]);
        check_refused(b, sock, "unknown operation");
    }
    send_text(sock, "{\"op\":\"quarantine-show\"}");
    check_refused(b, sock, "needs a key");
    close(sock);
}

static void
test_hostile_packets(void **data)
{
    static const char *const bad[] = {"", "[]", "{", "{\"op\":\"status\",\"op\":\"scan\"}", "\xff"};
    struct bench *b = *data;
    int good = client_new(b);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        int sock = client_new(b);
        send_text(sock, bad[i]);
        check_closed(b, sock);
        close(sock);
    }
    send_text(good, "{\"op\":\"status\"}");
    json_decref(receive(b, good, NULL));
    close(good);
}

/* Descriptors that nobody asked for do not pile up. */
static void
test_descriptors(void **data)
{
    struct bench *b = *data;
    json_t *request = json_pack("{s:s}", "op", "status");
    int sock = client_new(b);
    bench_settle(b);
    int before = dup(sock);
    close(before);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(packet_send(sock, request, sock), 0);
        json_decref(receive(b, sock, NULL));
    }
    int after = dup(sock);
    close(after);
    assert_int_equal(after, before);
    json_decref(request);
    close(sock);
}

/* Asks for much and reads nothing: others are served all the same. */
static void
test_client_that_does_not_read(void **data)
{
    struct bench *b = *data;
    bench_keep(b, 150);
    int deaf = client_new(b);
    int asked = 0;
    assert_int_equal(fcntl(deaf, F_SETFL, O_NONBLOCK), 0);
    while (send(deaf, "{\"op\":\"quarantine-list\"}", 24, MSG_NOSIGNAL) == 24 && asked < 100000) {
        asked++;
        bench_settle(b);
    }
    assert_true(asked < 100000); /* it is not read either, until it reads */
    for (int i = 0; i < asked; i++) {
        bench_keep(b, 0); /* each waits for what the storage thread had to do before */
    }
    int good = client_new(b);
    send_text(good, "{\"op\":\"status\"}");
    json_decref(receive(b, good, NULL));
    close(good);
    for (int answers = 0; answers < asked;) { /* and then it gets them all */
        json_t *answer = receive(b, deaf, NULL);
        answers += json_is_false(json_object_get(answer, "more"));
        json_decref(answer);
    }
    close(deaf);
    bench_settle(b);
}

static int
memory(const char *text, size_t size, int seals)
{
    int fd = memfd_create("scan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(ftruncate(fd, (off_t)MAX(size, strlen(text))), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void
scan_send(int sock, int fd)
{
    json_t *request = json_pack("{s:s}", "op", "scan");
    assert_int_equal(packet_send(sock, request, fd), 0);
    json_decref(request);
    if (fd >= 0) {
        close(fd);
    }
}

static void
check_scan(struct bench *b, int sock, const char *text, const char *verdict, const char *reason)
{
    scan_send(sock, memory(text, 0, SEALS));
    json_t *answer = receive(b, sock, NULL);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    assert_string_equal(json_string_value(json_object_get(answer, "verdict")), verdict);
    assert_string_equal(json_string_value(json_object_get(answer, "reason")), reason);
    assert_int_equal(json_is_null(json_object_get(answer, "facts")), strcmp(verdict, "error") == 0);
    json_decref(answer);
    assert_int_equal(b->budget.used, 0);
}

static void
test_scan(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    check_scan(b, sock, "hello", "clean", "");
    check_scan(b, sock, "a VIRUS", "infected", "Test.Virus");
    check_scan(b, sock, "LOCKED", "not fully scanned", "encrypted: ZIP archive");
    check_scan(b, sock, "FAIL", "error", "two workers died");
    close(sock);
}

/* 200 parts with names of 1 kB are more than a packet holds: the verdict comes all the same. */
static void
test_scan_long_facts(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    scan_send(sock, memory("VIRUS PARTS", 0, SEALS));
    json_t *answer = receive(b, sock, NULL);
    assert_string_equal(json_string_value(json_object_get(answer, "verdict")), "infected");
    const json_t *facts = json_object_get(answer, "facts");
    assert_int_equal(json_integer_value(json_object_get(facts, "parts_total")), FACTS_PARTS_MAX);
    assert_null(json_object_get(facts, "parts"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(answer, "left_out"), 0)),
                        "facts/parts");
    json_decref(answer);
    close(sock);
}

static void
test_scan_refused(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    g_autofree char *file = g_build_filename(b->fixture->dir, "postern.conf", NULL);
    scan_send(sock, -1);
    check_refused(b, sock, "sealed memfd");
    scan_send(sock, open(file, O_RDONLY | O_CLOEXEC));
    check_refused(b, sock, "sealed memfd");
    scan_send(sock, memory("x", 0, F_SEAL_SHRINK | F_SEAL_GROW));
    check_refused(b, sock, "sealed memfd");
    scan_send(sock, memory("x", 0, F_SEAL_WRITE));
    check_refused(b, sock, "sealed memfd");
    scan_send(sock, dup(sock));
    check_refused(b, sock, "sealed memfd");
    scan_send(sock, memory("x", 600001, SEALS));
    check_refused(b, sock, "message_size");
    b->budget.used = 500000;
    scan_send(sock, memory("x", 500001, SEALS));
    check_refused(b, sock, "spool_memory");
    b->budget.used = 0;
    check_scan(b, sock, "hello", "clean", "");
    close(sock);
}

/* A client that moves its descriptor behind the virus does not hide it. */
static void
test_scan_offset(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    int fd = memory("a VIRUS", 0, SEALS);
    assert_int_equal(lseek(fd, 7, SEEK_SET), 7);
    scan_send(sock, fd);
    json_t *answer = receive(b, sock, NULL);
    assert_string_equal(json_string_value(json_object_get(answer, "verdict")), "infected");
    json_decref(answer);
    close(sock);
}

static void
test_scan_client_gone(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    scan_send(sock, memory("HANG", 0, SEALS));
    while (b->pool.running == 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    assert_int_equal(b->budget.used, 4);
    close(sock);
    while (b->pool.running > 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    assert_int_equal(b->pool.cancelled, 1);
    assert_int_equal(b->budget.used, 0);
}

/* Ends with scans under way: bench_teardown() looks for what is left. */
static void
test_end_while_busy(void **data)
{
    struct bench *b = *data;
    int one = client_new(b);
    int two = client_new(b);
    scan_send(one, memory("HANG", 0, SEALS));
    while (b->pool.running == 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    send_text(two, "{\"op\":\"quarantine-list\"}");
    assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    close(one);
    close(two);
}

static void
test_list(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    int packets = 0;
    int rows = 0;
    gboolean more = TRUE;
    bench_keep(b, 250);
    send_text(sock, "{\"op\":\"quarantine-list\"}");
    while (more) {
        json_t *answer = receive(b, sock, NULL);
        const json_t *row;
        size_t i;
        json_array_foreach(json_object_get(answer, "rows"), i, row)
        {
            g_autofree char *subject = g_strdup_printf("m%d", 249 - rows++);
            assert_string_equal(json_string_value(json_object_get(row, "subject")), subject);
        }
        more = json_is_true(json_object_get(answer, "more"));
        packets++;
        json_decref(answer);
    }
    assert_int_equal(rows, 250);
    assert_true(packets > 1);
    /* The connection is fit for the next question. */
    send_text(sock, "{\"op\":\"status\"}");
    json_decref(receive(b, sock, NULL));
    close(sock);
}

static void
test_show(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    int fd = -1;
    bench_keep(b, 1);
    send_text(sock, "{\"op\":\"quarantine-list\"}");
    json_t *list = receive(b, sock, NULL);
    const json_t *row = json_array_get(json_object_get(list, "rows"), 0);
    json_t *request = json_pack("{s:s, s:b, s:O}", "op", "quarantine-show", "content", 1, "key",
                                json_object_get(row, "key"));
    assert_int_equal(packet_send(sock, request, -1), 0);
    json_t *answer = receive(b, sock, &fd);
    assert_true(json_equal(json_object_get(json_object_get(answer, "meta"), "key"),
                           json_object_get(row, "key")));
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    fixture_assert_content(fd, "m0");
    close(fd);
    json_decref(answer);
    json_decref(request);
    json_decref(list);
    send_text(sock, "{\"op\":\"quarantine-show\",\"key\":\"ffff\"}");
    check_refused(b, sock, "no such entry");
    close(sock);
}

static void
test_too_many(void **data)
{
    struct bench *b = *data;
    int socks[CONTROL_CLIENTS];
    for (int i = 0; i < CONTROL_CLIENTS; i++) {
        socks[i] = client_new(b);
    }
    int late = client_new(b);
    check_refused(b, late, "too many");
    check_closed(b, late);
    close(late);
    close(socks[0]);
    bench_settle(b);
    late = client_new(b);
    send_text(late, "{\"op\":\"status\"}");
    json_decref(receive(b, late, NULL));
    close(late);
    for (int i = 1; i < CONTROL_CLIENTS; i++) {
        close(socks[i]);
    }
}

static void
test_stranger(void **data)
{
    struct bench *b = *data;
    struct stat st;
    const char *path = b->fixture->settings->control_socket;
    int status = 0;
    int pipes[2];
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    if (geteuid() != 0) {
        skip();
    }
    /* Even where the mode is lost. */
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(chmod(b->fixture->dir, 0755), 0);
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        json_t *answer = NULL;
        if (setgid(65534) < 0 || setuid(65534) < 0) {
            _exit(2);
        }
        int sock = packet_connect(path);
        int rc = packet_receive(sock, &answer, NULL);
        const char *error = json_string_value(json_object_get(answer, "error"));
        _exit(rc == 1 && strstr(error, "only root") != NULL ? 0 : 1);
    }
    close(pipes[1]); /* the child has the other end: it is readable when that one is gone */
    bench_wait(b, pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(pipes[0]);
}

/* The cluster's deeper monitor: a mail with the test virus, then the state. Nothing is left of it.
 */
static void
check_selftest(struct bench *b, const char *request, bool scanned, bool state)
{
    int sock = client_new(b);
    send_text(sock, request);
    json_t *answer = receive(b, sock, NULL);
    if (!json_is_true(json_object_get(answer, "ok"))) {
        fail_msg("%s", json_string_value(json_object_get(answer, "error")));
    }
    assert_int_equal(json_is_true(json_object_get(answer, "scanned")), scanned);
    assert_int_equal(json_is_true(json_object_get(answer, "state")), state);
    json_decref(answer);
    close(sock);
}

static void
test_selftest(void **data)
{
    struct bench *b = *data;
    check_selftest(b, "{\"op\":\"selftest\"}", true, false);
    check_selftest(b, "{\"op\":\"selftest\",\"state\":true}", true, true);
    b->pool.ready = false;
    check_selftest(b, "{\"op\":\"selftest\",\"state\":true}", false, true);
    assert_int_equal(b->pool.scans, 2);
    assert_int_equal(b->counters.messages, 0);
    g_autofree char *kept = g_build_filename(b->fixture->settings->state_dir, "quarantine", NULL);
    GDir *dir = g_dir_open(kept, 0, NULL);
    assert_null(g_dir_read_name(dir));
    g_dir_close(dir);
}

/* Who has gone meanwhile is not answered. */
static void
test_selftest_client_gone(void **data)
{
    struct bench *b = *data;
    int sock = client_new(b);
    send_text(sock, "{\"op\":\"selftest\",\"state\":true}");
    close(sock);
    bench_settle(b);
    check_selftest(b, "{\"op\":\"selftest\",\"state\":true}", true, true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_status),
        T(test_health),
        T(test_health_judge),
        T(test_finish_upgrade),
        T(test_unknown),
        T(test_hostile_packets),
        T(test_descriptors),
        T(test_client_that_does_not_read),
        T(test_scan),
        T(test_scan_long_facts),
        T(test_scan_refused),
        T(test_scan_offset),
        T(test_scan_client_gone),
        T(test_end_while_busy),
        T(test_selftest),
        T(test_selftest_client_gone),
        T(test_list),
        T(test_show),
        T(test_too_many),
        T(test_stranger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

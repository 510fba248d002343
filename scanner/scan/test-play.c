/* SPDX-License-Identifier: GPL-2.0-only */
#include "test-play.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "packet.h"

#define GIVE_UP_US (120 * G_TIME_SPAN_SECOND)

struct play t;

void
play_on_done(void *data, const struct scan_outcome *outcome)
{
    struct result *result = data;
    result->calls++;
    result->has_facts = outcome->facts != NULL;
    result->lost = outcome->lost;
    result->worker = outcome->worker;
    result->error = g_strdup(outcome->error);
    result->detections = outcome->facts != NULL ? outcome->facts->detections->len : 0;
}

void
run_until_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (poll(&wait, 1, 0) == 0) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

void
run_until_done(const struct result *result)
{
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (result->calls == 0) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

void
run_until_ready(bool ready)
{
    gint64 end = g_get_monotonic_time() + GIVE_UP_US;
    while (pool_ready(t.pool) != ready) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
}

void
check_result(struct result *result, const char *error, bool lost)
{
    run_until_done(result);
    assert_int_equal(result->calls, 1);
    if (error == NULL) {
        assert_true(result->has_facts);
    } else {
        assert_false(result->has_facts);
        assert_string_equal(result->error, error);
    }
    assert_int_equal(result->lost, lost);
    g_clear_pointer(&result->error, g_free);
}

void
engine_send(json_t *object, int fd)
{
    assert_int_equal(packet_send(t.sock, object, fd), 0);
    json_decref(object);
}

void
engine_expect(const char *op, gint64 worker)
{
    json_t *got = NULL;
    run_until_readable(t.sock);
    assert_int_equal(packet_receive(t.sock, &got, NULL), 1);
    assert_string_equal(json_string_value(json_object_get(got, "op")), op);
    assert_int_equal(json_integer_value(json_object_get(got, "worker")), worker);
    json_decref(got);
}

void
engine_accept(const char *state)
{
    run_until_readable(t.listener);
    t.sock = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(t.sock >= 0);
    engine_expect("status", 0);
    engine_send(json_pack("{s:b, s:s}", "ok", 1, "state", state), -1);
    engine_expect("attach", 0);
    engine_send(json_pack("{s:b}", "ok", 1), -1);
}

void
engine_close(void)
{
    close(t.sock);
    t.sock = -1;
}

int
engine_worker(gint64 number)
{
    int pair[2];
    assert_int_equal(packet_pair(pair), 0);
    engine_send(json_pack("{s:s, s:I}", "event", "worker", "worker", (json_int_t)number), pair[0]);
    close(pair[0]);
    return pair[1];
}

int
message(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

json_int_t
worker_take(int worker, const char *text)
{
    json_t *request = NULL;
    int fd = -1;
    char got[64] = "";
    run_until_readable(worker);
    assert_int_equal(packet_receive(worker, &request, &fd), 1);
    assert_string_equal(json_string_value(json_object_get(request, "op")), "scan");
    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof got), (ssize_t)strlen(text)); /* its own offset */
    assert_string_equal(got, text);
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    json_decref(request);
    return id;
}

void
worker_answer(int worker, json_int_t id, const char *detection, bool retire)
{
    g_autoptr(facts_t) facts = facts_new();
    facts->complete = true;
    if (detection != NULL) {
        facts_add_detection(facts, detection);
    }
    json_t *answer =
        json_pack("{s:I, s:o, s:b}", "id", id, "facts", facts_to_json(facts), "retire", retire);
    assert_int_equal(packet_send(worker, answer, -1), 0);
    json_decref(answer);
}

int
play_setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    t.path = g_build_filename(t.dir, "engine.sock", NULL);
    t.sock = -1;
    t.settings.engine_dir = t.dir;
    t.settings.scan_timeout = 20;
    t.listener = packet_listen(t.path, 0600);
    assert_true(t.listener >= 0);
    assert_true(sd_event_new(&t.event) >= 0);
    assert_int_equal(pool_new(t.event, &t.settings, &t.pool), 0);
    return 0;
}

int
play_teardown(void **state)
{
    (void)state;
    pool_free(t.pool);
    sd_event_unref(t.event);
    if (t.sock >= 0) {
        close(t.sock);
    }
    close(t.listener);
    (void)g_unlink(t.path);
    (void)g_rmdir(t.dir);
    g_free(t.path);
    g_free(t.dir);
    return 0;
}

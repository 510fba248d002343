/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test-bench.h"

#include <poll.h>
#include <string.h>

#include "format.h"

static void
on_fatal(void *data, int error, const char *text)
{
    (void)data;
    fail_msg("storage: %d %s", error, text);
}

static json_t *
milter_status(void *data)
{
    (void)data;
    return json_pack("[{s:s, s:i}]", "address", "unix:/m.sock", "connections", 3);
}

void
bench_listen(struct bench *b)
{
    g_autofree char *error = NULL;
    const struct control_services services = {.pool = &b->pool,
                                              .storage = b->storage,
                                              .releaser = b->releaser,
                                              .counters = &b->counters,
                                              .budget = &b->budget,
                                              .health = b->health,
                                              .milter_status = milter_status};
    assert_int_equal(control_new(b->event, b->fixture->settings, &services, &b->control, &error),
                     0);
}

int
bench_setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    void *fixture = NULL;
    g_autofree char *error = NULL;
    fixture_setup(&fixture);
    b->fixture = fixture;
    assert_true(sd_event_new(&b->event) >= 0);
    b->pool = (struct pool){.event = b->event, .ready = true};
    b->budget.limit = 1000000;
    b->fixture->settings->message_size = 600000;
    assert_int_equal(storage_new(b->event, b->fixture->settings, FORMAT_OLDEST, on_fatal, b,
                                 &b->storage, &error),
                     0);
    assert_int_equal(releaser_new(b->event, b->fixture->settings, b->storage, &b->releaser), 0);
    assert_int_equal(service_health_new(b->event, b->fixture->settings, b->storage, &b->pool,
                                        b->releaser, &b->budget, &b->health),
                     0);
    bench_listen(b);
    *data = b;
    return 0;
}

int
bench_teardown(void **data)
{
    struct bench *b = *data;
    void *fixture = b->fixture;
    control_free(b->control);
    releaser_free(b->releaser);
    storage_free(b->storage);
    service_health_free(b->health);
    assert_int_equal(b->pool.running, 0);
    assert_int_equal(b->budget.used, 0);
    sd_event_unref(b->event);
    fixture_teardown(&fixture);
    g_free(b);
    return 0;
}

struct keeping {
    int n;
    gboolean done;
};

static int
keep_work(struct state *state, void *data)
{
    struct keeping *keeping = data;
    int rc = 0;
    for (int i = 0; i < keeping->n && rc == 0; i++) {
        g_autofree char *subject = g_strdup_printf("m%d", i);
        rc = fixture_store(state, subject, "Q");
    }
    return rc;
}

static void
keep_done(void *data, int result)
{
    struct keeping *keeping = data;
    assert_int_equal(result, 0);
    keeping->done = TRUE;
}

void
bench_keep(struct bench *b, int n)
{
    struct keeping keeping = {.n = n};
    storage_submit(b->storage, keep_work, keep_done, &keeping);
    while (!keeping.done) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
}

static gboolean
is_readable(int sock)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    return poll(&wait, 1, 0) == 1;
}

/* The loop's own descriptor and SOCK are waited for together. */
void
bench_wait(struct bench *b, int sock)
{
    while (!is_readable(sock)) {
        if (sd_event_run(b->event, 0) == 0) {
            struct pollfd wait[] = {{.fd = sock, .events = POLLIN},
                                    {.fd = sd_event_get_fd(b->event), .events = POLLIN}};
            assert_true(poll(wait, 2, 120000) >= 1);
        }
    }
}

void
bench_settle(struct bench *b)
{
    while (sd_event_run(b->event, 0) > 0) {
    }
}

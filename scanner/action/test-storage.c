/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <glib.h>

#include "format.h"
#include "storage.h"
#include "test-fixture.h"

#define JOBS 200
#define ANY_RESULT 7 /* told as it is when the job was run, else -ECANCELED */

struct bench {
    struct fixture *fixture;
    sd_event *event;
    struct storage *storage;
    GMutex gate; /* a job that waits for it holds the thread up */
    int worked[JOBS * 2];
    int n_worked;
    int done[JOBS * 2];
    int n_done;
    int fatal;
    int n_fatal;
};

struct job {
    struct bench *bench;
    int number;
    int result; /* what the work returns, and the expected one when it is not run */
    gboolean gated;
};

static int
work(struct state *state, void *data)
{
    struct job *job = data;
    assert_non_null(state);
    if (job->gated) {
        g_mutex_lock(&job->bench->gate);
        g_mutex_unlock(&job->bench->gate);
    }
    job->bench->worked[job->bench->n_worked++] = job->number;
    return job->result;
}

static void
done(void *data, int result)
{
    struct job *job = data;
    if (job->result == ANY_RESULT) {
        gboolean ran = job->number < job->bench->n_worked;
        assert_int_equal(result, ran ? ANY_RESULT : -ECANCELED);
    } else {
        assert_int_equal(result, job->result);
    }
    job->bench->done[job->bench->n_done++] = job->number;
    g_free(job);
}

static void
submit(struct bench *b, int number, int result, gboolean gated)
{
    struct job *job = g_new0(struct job, 1);
    *job = (struct job){.bench = b, .number = number, .result = result, .gated = gated};
    storage_submit(b->storage, work, done, job);
}

static void
on_fatal(void *data, int error, const char *text)
{
    struct bench *b = data;
    assert_true(strlen(text) > 0);
    b->fatal = error;
    b->n_fatal++;
}

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    g_autofree char *error = NULL;
    void *fixture = NULL;
    fixture_setup(&fixture);
    b->fixture = fixture;
    assert_true(sd_event_new(&b->event) >= 0);
    assert_int_equal(storage_new(b->event, b->fixture->settings, FORMAT_NEWEST, on_fatal, b,
                                 &b->storage, &error),
                     0);
    *data = b;
    return 0;
}

static int
teardown(void **data)
{
    struct bench *b = *data;
    void *fixture = b->fixture;
    storage_free(b->storage);
    sd_event_unref(b->event);
    fixture_teardown(&fixture);
    g_free(b);
    return 0;
}

static void
run_until_done(struct bench *b, int n)
{
    while (b->n_done < n) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
}

static void
test_order(void **data)
{
    struct bench *b = *data;
    assert_int_equal(storage_epoch(b->storage), 1);
    for (int i = 0; i < JOBS; i++) {
        submit(b, i, i % 3 == 0 ? -ENOSPC : 0, FALSE);
        assert_int_equal(b->n_done, 0); /* never from within submit */
    }
    run_until_done(b, JOBS);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(b->worked[i], i);
        assert_int_equal(b->done[i], i);
    }
    assert_int_equal(b->n_fatal, 0);
}

/* The loop goes on while the disk does not. */
static void
test_loop_is_free(void **data)
{
    struct bench *b = *data;
    g_mutex_lock(&b->gate);
    submit(b, 0, 0, TRUE);
    assert_int_equal(sd_event_run(b->event, 0), 0);
    assert_int_equal(b->n_done, 0);
    g_mutex_unlock(&b->gate);
    run_until_done(b, 1);
}

static void
check_fatal(struct bench *b, int error)
{
    g_mutex_lock(&b->gate);
    submit(b, 0, error, TRUE);
    submit(b, 1, error, FALSE); /* is not run, ends with the same */
    g_mutex_unlock(&b->gate);
    run_until_done(b, 2);
    submit(b, 2, error, FALSE);
    run_until_done(b, 3);
    assert_int_equal(b->n_worked, 1);
    assert_int_equal(b->n_fatal, 1);
    assert_int_equal(b->fatal, error);
}

static void
test_fatal_io(void **data)
{
    check_fatal(*data, -EIO);
}

static void
test_fatal_stale(void **data)
{
    check_fatal(*data, -ESTALE);
}

static void
test_fatal_read_only(void **data)
{
    check_fatal(*data, -EROFS);
}

/* After a failed fsync nothing more is written: the lease does not say "clean". */
static void
test_fatal_is_not_clean(void **data)
{
    struct bench *b = *data;
    g_autofree char *path = g_build_filename(b->fixture->dir, "state/lease", NULL);
    g_autofree char *text = NULL;
    submit(b, 0, -EIO, FALSE);
    run_until_done(b, 1);
    storage_free(g_steal_pointer(&b->storage));
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_non_null(strstr(text, "\"clean\":false"));
}

/* How many of them the thread still ran is open; each ends once, in order, as run or cancelled. */
static void
test_free_ends_the_waiting(void **data)
{
    struct bench *b = *data;
    g_autofree char *path = g_build_filename(b->fixture->dir, "state/lease", NULL);
    g_autofree char *text = NULL;
    for (int i = 0; i < 10; i++) {
        submit(b, i, ANY_RESULT, FALSE);
    }
    storage_free(g_steal_pointer(&b->storage));
    assert_int_equal(b->n_done, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(b->done[i], i);
    }
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_non_null(strstr(text, "\"clean\":true"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_order),
        T(test_loop_is_free),
        T(test_fatal_io),
        T(test_fatal_stale),
        T(test_fatal_read_only),
        T(test_fatal_is_not_clean),
        T(test_free_ends_the_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

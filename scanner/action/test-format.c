/* SPDX-License-Identifier: GPL-2.0-only */
/* The format of the state: kept as found, raised at once or not at all, known after every loss. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "format.h"
#include "incident.h"
#include "release.h"
#include "test-fixture.h"

static gint64
database_version(struct state *state)
{
    gint64 version = 0;
    assert_int_equal(db_get(state_db(state), "PRAGMA user_version", NULL, &version), 0);
    return version;
}

static void
check_format(struct state *state, int format)
{
    assert_int_equal(state_format(state), format);
    assert_int_equal(database_version(state), format);
}

static char *
path_of(const struct fixture *f, const char *name)
{
    return g_build_filename(f->dir, "state", name, NULL);
}

/* What is in the file's text; NULL when there is no file. */
static char *
format_file(const struct fixture *f)
{
    char *text = NULL;
    g_autofree char *path = path_of(f, FORMAT_NAME);
    (void)g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static void
format_put(const struct fixture *f, const char *text)
{
    g_autofree char *path = path_of(f, FORMAT_NAME);
    if (text == NULL) {
        assert_int_equal(unlink(path), 0);
    } else {
        assert_true(g_file_set_contents(path, text, -1, NULL));
    }
}

static void
database_damage(const struct fixture *f)
{
    g_autofree char *path = path_of(f, "state.db");
    assert_true(g_file_set_contents(path, "no database", -1, NULL));
}

/* In the one file that is there. */
static json_t *
envelope_of(const struct fixture *f)
{
    g_autofree char *path = fixture_first_file(f);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    char *json = strchr(text, '{');
    *strchr(text, '\n') = '\0';
    json_t *meta = json_loads(json, 0, NULL);
    assert_non_null(meta);
    json_t *envelope = json_incref(json_object_get(meta, "envelope"));
    json_decref(meta);
    return envelope;
}

static struct release_ticket *
ticket_of(const struct fixture *f, struct state *state, char **to)
{
    struct release_ticket *ticket = NULL;
    g_autofree char *path = fixture_first_file(f);
    g_autofree char *key = g_path_get_basename(path);
    *strchr(key, '.') = '\0';
    assert_int_equal(release_begin(state, key, to, 0, &ticket), 0);
    assert_int_equal(release_end(state, ticket, SMTP_REFUSED, "550 no", FALSE, 0), 0);
    return ticket;
}

static void
test_fresh(void **data)
{
    struct fixture *f = *data;
    f->fresh = FORMAT_OLDEST;
    g_autoptr(state_t) state = fixture_open(f);
    check_format(state, FORMAT_OLDEST);
    assert_null(format_file(f)); /* an older Postern made none */
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    json_t *envelope = envelope_of(f);
    assert_null(json_object_get(envelope, "parameters"));
    assert_null(json_object_get(envelope, "recipient_parameters"));
    json_decref(envelope);
    struct release_ticket *ticket = ticket_of(f, state, NULL);
    assert_null(ticket->parameters);
    assert_null(ticket->recipient_parameters);
    release_ticket_free(ticket);
}

static void
test_kept_as_found(void **data)
{
    struct fixture *f = *data;
    f->fresh = FORMAT_OLDEST;
    fixture_close(fixture_open(f));
    f->fresh = FORMAT_NEWEST; /* nobody has raised it */
    for (int i = 0; i < 2; i++) {
        g_autoptr(state_t) state = fixture_open(f);
        check_format(state, FORMAT_OLDEST);
    }
    assert_null(format_file(f));
}

static void
test_newest(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    g_autofree char *text = format_file(f);
    check_format(state, FORMAT_NEWEST);
    assert_string_equal(text, "3\n");
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    json_t *envelope = envelope_of(f);
    const json_t *all = json_object_get(envelope, "recipient_parameters");
    assert_string_equal(json_string_value(json_object_get(envelope, "parameters")), FIXTURE_MAIL);
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(json_string_value(json_array_get(all, 0)), FIXTURE_RCPT);
    assert_true(json_is_null(json_array_get(all, 1)));
    json_decref(envelope);
    struct release_ticket *ticket = ticket_of(f, state, NULL);
    assert_string_equal(ticket->parameters, FIXTURE_MAIL);
    assert_string_equal(g_ptr_array_index(ticket->recipient_parameters, 0), FIXTURE_RCPT);
    release_ticket_free(ticket);
    /* Another recipient has not asked for anything. */
    char *to[] = {(char[]){"other@x.test"}, NULL};
    ticket = ticket_of(f, state, to);
    assert_string_equal(ticket->parameters, FIXTURE_MAIL);
    assert_null(ticket->recipient_parameters);
    release_ticket_free(ticket);
}

static int
count_incidents(struct state *state)
{
    const struct incident_filter filter = {.kind = "format", .limit = 10};
    json_t *rows = NULL;
    assert_int_equal(incident_list(state_db(state), &filter, &rows), 0);
    int n = (int)json_array_size(rows);
    json_decref(rows);
    return n;
}

static void
test_raise(void **data)
{
    struct fixture *f = *data;
    f->fresh = FORMAT_OLDEST;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(state_raise(state, FORMAT_NEWEST + 1, 0), -EOPNOTSUPP);
    check_format(state, FORMAT_OLDEST);
    assert_int_equal(state_raise(state, FORMAT_NEWEST, 42), 0);
    check_format(state, FORMAT_NEWEST);
    assert_int_equal(state_raise(state, FORMAT_NEWEST, 42), 0); /* once more is nothing */
    assert_int_equal(state_raise(state, FORMAT_OLDEST, 42), 0); /* and there is no way back */
    check_format(state, FORMAT_NEWEST);
    assert_int_equal(count_incidents(state), 1);
    state_close(state);
    state = fixture_open(f);
    check_format(state, FORMAT_NEWEST);
    assert_int_equal(fixture_attempts(state, "one"), 1);
    struct release_ticket *ticket = ticket_of(f, state, NULL); /* kept when nothing was known */
    assert_null(ticket->parameters);
    release_ticket_free(ticket);
    state_close(state);
}

/* A crash between the two places, and a database that came back from a backup. */
static void
test_file_follows(void **data)
{
    static const char *const wrong[] = {NULL, "2\n", "", "rubbish\n", "3"};
    struct fixture *f = *data;
    fixture_close(fixture_open(f));
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        format_put(f, wrong[i]);
        g_autoptr(state_t) state = fixture_open(f);
        check_format(state, FORMAT_NEWEST);
        g_autofree char *text = format_file(f);
        assert_string_equal(text, "3\n");
    }
}

static void
test_damaged_database(void **data)
{
    struct fixture *f = *data;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    state_close(state);
    f->fresh = FORMAT_OLDEST;
    database_damage(f);
    state = fixture_open(f);
    check_format(state, FORMAT_NEWEST); /* all nodes know it, and nothing is lost */
    assert_int_equal(fixture_attempts(state, "one"), 1);
    struct release_ticket *ticket = ticket_of(f, state, NULL);
    assert_string_equal(ticket->parameters, FIXTURE_MAIL);
    release_ticket_free(ticket);
    state_close(state);
}

/* Without a number it was an older Postern's, and other nodes may still run that. */
static void
test_damaged_older_database(void **data)
{
    struct fixture *f = *data;
    f->fresh = FORMAT_OLDEST;
    fixture_close(fixture_open(f));
    f->fresh = FORMAT_NEWEST;
    database_damage(f);
    g_autoptr(state_t) state = fixture_open(f);
    check_format(state, FORMAT_OLDEST);
}

static void
test_of_a_newer_one(void **data)
{
    struct fixture *f = *data;
    struct state *state = NULL;
    g_autofree char *error = NULL;
    fixture_close(fixture_open(f));
    format_put(f, "4\n");
    database_damage(f);
    assert_int_equal(state_open(f->settings, FORMAT_NEWEST, &state, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error, "made by a newer Postern"));
    assert_int_equal(fixture_kept_aside(f), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_fresh),          T(test_kept_as_found),          T(test_newest),
        T(test_raise),          T(test_file_follows),           T(test_damaged_database),
        T(test_of_a_newer_one), T(test_damaged_older_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

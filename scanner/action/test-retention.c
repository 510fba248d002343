/* SPDX-License-Identifier: GPL-2.0-only */
/* What fills the state, what empties it, and what both leave on record. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog.h"
#include "incident.h"
#include "note.h"
#include "origin.h"
#include "quarantine.h"
#include "release.h"
#include "retention.h"
#include "schema.h"
#include "tally.h"
#include "test-fixture.h"

static char *
key_of(struct state *state, const char *subject)
{
    const struct listing_filter filter = {.subject = subject};
    json_t *rows = NULL;
    gint64 next = 0;
    assert_int_equal(quarantine_list(state, &filter, 0, 10, &rows, &next), 0);
    assert_int_equal(json_array_size(rows), 1);
    char *key = g_strdup(json_string_value(json_object_get(json_array_get(rows, 0), "key")));
    json_decref(rows);
    return key;
}

static int
incidents(struct state *state, const char *kind)
{
    const struct incident_filter filter = {.kind = kind, .limit = 100000};
    json_t *rows = NULL;
    assert_int_equal(incident_list(state_db(state), &filter, &rows), 0);
    int n = (int)json_array_size(rows);
    json_decref(rows);
    return n;
}

static guint64
usage(struct state *state, const char *origin)
{
    guint64 bytes = 0;
    assert_int_equal(catalog_usage(state_db(state), origin, &bytes), 0);
    return bytes;
}

static void
test_delete(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    g_autofree char *deleted = NULL;
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(fixture_store(state, "two", "Q2"), 0);
    g_autofree char *key = key_of(state, "one");
    assert_int_equal(retention_delete(state, "ffff", 17, &deleted), -ENOENT);
    assert_int_equal(retention_delete(state, key, 17, &deleted), 0);
    assert_string_equal(deleted, key);
    assert_int_equal(fixture_attempts(state, "one"), -1);
    assert_int_equal(fixture_attempts(state, "two"), 1);
    assert_int_equal(fixture_files(f, ".eml"), 1);
    assert_int_equal(incidents(state, "delete"), 1);
    assert_true(usage(state, NULL) == FIXTURE_SIZE + 4096);
    /* It may come again, as a new one. */
    assert_int_equal(fixture_store(state, "one", "Q3"), 0);
    assert_int_equal(fixture_attempts(state, "one"), 1);
}

static void
test_expiry_in_steps(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    gboolean more = TRUE;
    int steps = 0;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    for (int i = 0; i < 40; i++) {
        g_autofree char *subject = g_strdup_printf("m%d", i);
        assert_int_equal(fixture_store(state, subject, "Q"), 0);
    }
    assert_int_equal(retention_step(state, now, &more), 0);
    assert_false(more); /* nothing is old */
    assert_int_equal(fixture_files(f, ".eml"), 40);
    now += 31 * 86400;
    do {
        int before = fixture_files(f, ".eml");
        assert_int_equal(retention_step(state, now, &more), 0);
        assert_true(before - fixture_files(f, ".eml") <= RETENTION_STEP);
        steps++;
    } while (more);
    assert_true(steps > 2);
    assert_int_equal(fixture_files(f, ""), 0);
    assert_int_equal(incidents(state, "expiry"), 40);
    assert_true(usage(state, NULL) == 0);
}

static void
test_expiry_never(void **data)
{
    struct fixture *f = *data;
    gboolean more = TRUE;
    f->settings->quarantine_days = 0;
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(retention_step(state, G_MAXINT32, &more), 0);
    assert_false(more);
    assert_int_equal(fixture_files(f, ".eml"), 1);
}

/* What is being released is neither deleted nor expired. */
static void
test_busy(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    struct release_ticket *ticket = NULL;
    struct release_ticket *second = NULL;
    g_autofree char *deleted = NULL;
    gboolean more = TRUE;
    gint64 later = g_get_real_time() / G_USEC_PER_SEC + 100 * 86400;
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    g_autofree char *key = key_of(state, "one");
    assert_int_equal(release_begin(state, key, NULL, 0, &ticket), 0);
    assert_int_equal(release_begin(state, key, NULL, 0, &second), -EBUSY);
    assert_int_equal(retention_delete(state, key, 0, &deleted), -EBUSY);
    assert_int_equal(retention_step(state, later, &more), 0);
    assert_int_equal(fixture_files(f, ".eml"), 1);
    assert_int_equal(release_end(state, ticket, SMTP_REFUSED, "550 no", FALSE, 0), 0);
    release_ticket_free(ticket);
    assert_int_equal(retention_delete(state, key, 0, &deleted), 0);
    assert_int_equal(fixture_files(f, ""), 0); /* its note too */
}

static void
test_quota(void **data)
{
    struct fixture *f = *data;
    f->settings->quarantine_quota = 2 * FIXTURE_SIZE + 8192;
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(fixture_store(state, "two", "Q2"), 0);
    assert_int_equal(fixture_store(state, "three", "Q3"), -EDQUOT);
    assert_int_equal(fixture_files(f, ""), 2);
    assert_int_equal(fixture_store(state, "one", "Q4"), 0); /* kept already: an attempt */
    assert_true(usage(state, "net:192.0.2.1") > 2 * FIXTURE_SIZE);
    f->settings->quarantine_quota = 0;
    state_set_limits(state, f->settings);
    assert_int_equal(fixture_store(state, "three", "Q5"), 0);
    f->settings->quarantine_size = 4 * FIXTURE_SIZE;
    state_set_limits(state, f->settings);
    assert_int_equal(fixture_store(state, "four", "Q6"), -ENOSPC);
}

static void
check_origin(const char *user, const char *client, const char *sender, const char *expected)
{
    g_autoptr(envelope_t) envelope = envelope_new();
    envelope->sender = g_strdup(sender);
    envelope->client_addr = g_strdup(client);
    envelope->auth_user = g_strdup(user);
    g_autofree char *origin = origin_of(envelope);
    assert_string_equal(origin, expected);
}

/* A forged sender changes nothing; a client that says nothing leaves only the sender. */
static void
test_origin(void **data)
{
    (void)data;
    check_origin(NULL, "192.0.2.7", "a@x.test", "net:192.0.2.7");
    check_origin(NULL, "192.0.2.7", "", "net:192.0.2.7");
    check_origin("Ann", "192.0.2.7", "a@x.test", "user:ann");
    check_origin(NULL, "IPv6:2001:db8:1:2:3:4:5:6", "a@x.test", "net:2001:db8:1:2::/64");
    check_origin(NULL, "IPv6:::ffff:192.0.2.7", "a@x.test", "net:192.0.2.7");
    check_origin(NULL, "127.0.0.1", "A@x.test", "from:a@x.test");
    check_origin(NULL, "IPv6:::1", "", "from:");
    check_origin(NULL, "unix", "a@x.test", "from:a@x.test");
    check_origin(NULL, NULL, "a@x.test", "from:a@x.test");
}

/* A database of part 1, as it was made then, is brought up to date with what it holds. */
static void
test_migration(void **data)
{
    struct fixture *f = *data;
    struct db *db = NULL;
    g_autofree char *path = g_build_filename(f->dir, "state/state.db", NULL);
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    state_close(state);
    assert_int_equal(db_open(path, FALSE, &db), 0);
    assert_int_equal(
        db_exec(db, "BEGIN; DROP TRIGGER quarantine_added; DROP TRIGGER quarantine_removed;"
                    "DROP TABLE usage; DROP TABLE incident; DROP TABLE tally; DROP TABLE strike;"
                    "DROP INDEX quarantine_time; DROP INDEX quarantine_open;"
                    "ALTER TABLE quarantine DROP COLUMN origin;"
                    "ALTER TABLE quarantine DROP COLUMN deleting;"
                    "ALTER TABLE quarantine DROP COLUMN releasing;"
                    "ALTER TABLE quarantine DROP COLUMN released;"
                    "ALTER TABLE quarantine DROP COLUMN release_attempts;"
                    "PRAGMA user_version=1; COMMIT"),
        0);
    db_close(db, FALSE);
    g_autoptr(state_t) again = fixture_open(f);
    assert_int_equal(state_epoch(again), 2);
    assert_int_equal(fixture_kept_aside(f), 0);
    assert_int_equal(fixture_attempts(again, "one"), 1);
    assert_true(usage(again, NULL) == FIXTURE_SIZE + 4096);
    assert_int_equal(fixture_store(again, "two", "Q2"), 0);
    assert_true(usage(again, NULL) == 2 * (FIXTURE_SIZE + 4096));
    assert_int_equal(incidents(again, "start"), 1);
}

/* Releases outlive the database. */
static void
test_release_state_is_rebuilt(void **data)
{
    struct fixture *f = *data;
    struct release_ticket *ticket = NULL;
    g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
    struct state *state = fixture_open(f);
    const struct listing_filter released = {.state = "released"};
    const struct listing_filter releasing = {.state = "releasing"};
    json_t *rows = NULL;
    gint64 next = 0;
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(fixture_store(state, "two", "Q2"), 0);
    g_autofree char *one = key_of(state, "one");
    g_autofree char *two = key_of(state, "two");
    assert_int_equal(release_begin(state, one, NULL, 0, &ticket), 0);
    assert_int_equal(ticket->recipients->len, 2);
    assert_int_equal(release_end(state, ticket, SMTP_ACCEPTED, "250 ok", FALSE, 0), 0);
    release_ticket_free(ticket);
    char *to[] = {(char[]){"x@y.test"}, NULL};
    assert_int_equal(release_begin(state, two, to, 0, &ticket), 0);
    release_ticket_free(ticket); /* and here the power went */
    state_abandon(state);
    state_close(state);
    assert_int_equal(unlink(db), 0);
    g_autoptr(state_t) again = fixture_open(f);
    assert_int_equal(quarantine_list(again, &released, 0, 10, &rows, &next), 0);
    assert_int_equal(json_array_size(rows), 1);
    json_decref(rows);
    assert_int_equal(quarantine_list(again, &releasing, 0, 10, &rows, &next), 0);
    assert_int_equal(json_array_size(rows), 1);
    json_decref(rows);
    g_autoptr(GPtrArray) keys = NULL;
    assert_int_equal(release_unfinished(again, &keys), 0);
    assert_int_equal(keys->len, 1);
    assert_string_equal(g_ptr_array_index(keys, 0), two);
    assert_int_equal(release_begin(again, two, NULL, INCIDENT_NOBODY, &ticket), 0);
    assert_int_equal(ticket->attempt, 2);
    assert_int_equal(ticket->recipients->len, 1); /* as it was asked for */
    assert_string_equal(g_ptr_array_index(ticket->recipients, 0), "x@y.test");
    release_ticket_free(ticket);
}

/* A flood of one kind leaves the others alone; senders who are invented fill nothing. */
static void
test_bounds(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    struct db *db = state_db(state);
    json_t *rows = NULL;
    const struct tally one = {.messages = 1, .bytes = 10};
    const struct incident release = {.kind = INCIDENT_RELEASE, .uid = 5};
    assert_int_equal(state_begin(state), 0);
    assert_int_equal(incident_add(db, &release), 0);
    for (int i = 0; i < INCIDENT_ROWS + 50; i++) {
        const struct incident infected = {.kind = INCIDENT_INFECTED, .uid = INCIDENT_NOBODY};
        assert_int_equal(incident_add(db, &infected), 0);
    }
    for (int i = 0; i < 3 * TALLY_NAMES; i++) {
        g_autofree char *name = g_strdup_printf("s%d@x.test", i);
        assert_int_equal(tally_add(db, TALLY_SENDER, 1000, name, &one), 0);
        assert_int_equal(tally_add(db, TALLY_SENDER, 1000, "busy@x.test", &one), 0);
    }
    assert_int_equal(incident_prune(db), 0);
    assert_int_equal(tally_prune(db, 1000), 0);
    assert_int_equal(state_end(state, 0), 0);
    assert_int_equal(incidents(state, "infected"), INCIDENT_ROWS);
    assert_int_equal(incidents(state, "release"), 1);
    assert_int_equal(tally_list(db, TALLY_SENDER, 1000, 10000, &rows), 0);
    assert_int_equal(json_array_size(rows), TALLY_NAMES + 1);
    guint64 sum = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        sum += (guint64)json_integer_value(json_object_get(json_array_get(rows, i), "messages"));
    }
    assert_int_equal(sum, 6 * TALLY_NAMES); /* nobody is lost from the sum */
    json_decref(rows);
}

/* A step looks at a bounded number of rows, whatever matches. */
static void
test_long_list(void **data)
{
    struct fixture *f = *data;
    g_autoptr(state_t) state = fixture_open(f);
    const struct listing_filter none = {.subject = "nobody*writes_this"};
    json_t *rows = NULL;
    gint64 next = 0;
    int steps = 0;
    assert_int_equal(
        db_exec(state_db(state),
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                "INSERT INTO quarantine(key, time, verdict, reason, sender, recipients,"
                " recipient_count, subject, size) SELECT printf('%064x', i), i, 'infected', 'r',"
                " 's@x', '[\"r@x\"]', 1, 'subject', 10 FROM n"),
        0);
    gint64 longest = 0;
    do {
        gint64 begin = g_get_monotonic_time();
        assert_int_equal(quarantine_list(state, &none, next, 100, &rows, &next), 0);
        longest = MAX(longest, g_get_monotonic_time() - begin);
        assert_int_equal(json_array_size(rows), 0);
        json_decref(rows);
        steps++;
    } while (next > 0);
    assert_int_equal(steps, 100000 / LISTING_STEP + 1);
    print_message("longest step: %d us\n", (int)longest);
}

static void
fill(const char *path)
{
    g_autofree char *zeros = g_malloc0(4096);
    FILE *file = fopen(path, "w");
    setvbuf(file, NULL, _IONBF, 0);
    while (fwrite(zeros, 1, 4096, file) == 4096) {
    }
    fclose(file);
}

/* Full to the last byte: what frees room still works. */
static void
test_full_disk(void **data)
{
    struct fixture *f = *data;
    g_autofree char *filler = g_build_filename(f->dir, "state/filler", NULL);
    g_autofree char *deleted = NULL;
    if (geteuid() != 0 ||
        mount("postern-test", f->settings->state_dir, "tmpfs", 0, "size=4M,mode=0700") < 0) {
        skip();
    }
    f->settings->state_low_water = 1024 * 1024;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    g_autofree char *key = key_of(state, "one");
    fill(filler);
    assert_int_equal(fixture_store(state, "two", "Q2"), -ENOSPC);
    assert_int_equal(retention_delete(state, key, 0, &deleted), 0);
    state_close(state);
    state = fixture_open(f); /* and a start does */
    assert_int_equal(fixture_attempts(state, "one"), -1);
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(fixture_store(state, "two", "Q2"), 0);
    state_close(state);
    assert_int_equal(umount(f->settings->state_dir), 0);
}

/* A database that has to be made anew is made in the room of the ballast. */
static void
test_full_disk_without_database(void **data)
{
    struct fixture *f = *data;
    g_autofree char *filler = g_build_filename(f->dir, "state/filler", NULL);
    g_autofree char *index = g_build_filename(f->dir, "state/state.db", NULL);
    if (geteuid() != 0 ||
        mount("postern-test", f->settings->state_dir, "tmpfs", 0, "size=4M,mode=0700") < 0) {
        skip();
    }
    f->settings->state_low_water = 1024 * 1024;
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    state_close(state);
    assert_true(g_file_set_contents(index, "no database", -1, NULL));
    fill(filler);
    state = fixture_open(f);
    assert_int_equal(fixture_attempts(state, "one"), 1);
    state_close(state);
    assert_int_equal(umount(f->settings->state_dir), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_delete),       T(test_expiry_in_steps),
        T(test_expiry_never), T(test_busy),
        T(test_quota),        T(test_origin),
        T(test_migration),    T(test_release_state_is_rebuilt),
        T(test_bounds),       T(test_long_list),
        T(test_full_disk),    T(test_full_disk_without_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

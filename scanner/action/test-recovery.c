/* SPDX-License-Identifier: GPL-2.0-only */
/* Files and rows after something went wrong: lost, damaged, strange. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>

#include "quarantine.h"
#include "test-fixture.h"

static void
check_rebuilt(struct fixture *f)
{
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_attempts(state, "one"), 1);
    assert_int_equal(fixture_attempts(state, "two"), 1);
    assert_true(state_epoch(state) >= 2);
    assert_int_equal(fixture_store(state, "one", "Q9"), 0);
    assert_int_equal(fixture_attempts(state, "one"), 2);
    assert_int_equal(fixture_files(f, ".eml"), 2);
}

static void
fill_and_close(struct fixture *f)
{
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    assert_int_equal(fixture_store(state, "two", "Q2"), 0);
}

static void
test_database_lost(void **data)
{
    struct fixture *f = *data;
    g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
    fill_and_close(f);
    assert_int_equal(unlink(db), 0);
    check_rebuilt(f);
}

static void
test_database_garbage(void **data)
{
    struct fixture *f = *data;
    g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
    fill_and_close(f);
    assert_true(g_file_set_contents(db, "this is no database, but it is kept", -1, NULL));
    check_rebuilt(f);
    assert_int_equal(fixture_kept_aside(f), 1);
}

/* A page in the middle is overwritten: only quick_check sees it. */
static void
test_database_damaged(void **data)
{
    struct fixture *f = *data;
    struct stat st;
    g_autofree char *db = g_build_filename(f->dir, "state/state.db", NULL);
    fill_and_close(f);
    assert_int_equal(stat(db, &st), 0);
    assert_true(st.st_size >= 4 * 4096);
    g_autofree char *junk = g_malloc0(4096);
    memset(junk, 0xa5, 4096);
    int fd = open(db, O_WRONLY | O_CLOEXEC);
    for (off_t page = 4096; page < st.st_size; page += 4096) {
        assert_int_equal(pwrite(fd, junk, 4096, page), 4096);
    }
    close(fd);
    check_rebuilt(f);
    assert_int_equal(fixture_kept_aside(f), 1);
}

/* Who wants to see it notices, and the list says so from then on. */
static void
test_file_lost_while_open(void **data)
{
    struct fixture *f = *data;
    json_t *rows = NULL;
    json_t *meta = NULL;
    g_autoptr(state_t) state = fixture_open(f);
    assert_int_equal(fixture_store(state, "one", "Q1"), 0);
    g_autofree char *file = fixture_first_file(f);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(fixture_list(state, 0, 1, &rows), 0);
    const char *key = json_string_value(json_object_get(json_array_get(rows, 0), "key"));
    assert_int_equal(fixture_missing(state), 0);
    assert_int_equal(fixture_show(state, key, &meta, NULL), -ENODATA);
    assert_int_equal(fixture_missing(state), 1);
    json_decref(rows);
}

static void
test_row_without_file(void **data)
{
    struct fixture *f = *data;
    fill_and_close(f);
    g_autofree char *file = fixture_first_file(f);
    g_autofree char *away = g_strconcat(file, ".away", NULL);
    assert_int_equal(rename(file, away), 0);
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_missing(state), 1);
    state_close(state);
    assert_int_equal(rename(away, file), 0);
    state = fixture_open(f);
    assert_int_equal(fixture_missing(state), 0);

    /* The sender's retry makes a lost file good. */
    assert_int_equal(unlink(file), 0);
    assert_int_equal(fixture_store(state, "one", "Q3"), 0);
    assert_int_equal(fixture_store(state, "two", "Q4"), 0);
    assert_int_equal(fixture_files(f, ".eml"), 2);
    assert_int_equal(fixture_attempts(state, "one"), 2);
    state_close(state);

    /* Also one whose loss was noticed. */
    g_autofree char *again = fixture_first_file(f);
    assert_int_equal(unlink(again), 0);
    state = fixture_open(f);
    assert_int_equal(fixture_missing(state), 1);
    assert_int_equal(fixture_store(state, "one", "Q5"), 0);
    assert_int_equal(fixture_store(state, "two", "Q6"), 0);
    assert_int_equal(fixture_missing(state), 0);
    state_close(state);
}

static const char header_good[] =
    "X-Postern-Quarantine: {\"version\":1,\"key\":\"%s\",\"time\":1,\"verdict\":\"infected\","
    "\"reason\":\"x\",\"size\":4,\"envelope\":{\"sender\":\"\",\"recipients\":[]},"
    "\"facts\":null}\nbody";

/* What may lie in the quarantine after a disk went mad, or somebody put it there. */
static void
test_adoption_of_strange_files(void **data)
{
    static const char *const strange[] = {
        "",
        "\n",
        "X-Postern-Quarantine: ",
        "X-Postern-Quarantine: {",
        "X-Postern-Quarantine: []\nbody",
        "X-Postern-Quarantine: {}\nbody",
        "Subject: a mail\n\nbody",
        "X-Postern-Something_: {\"version\":1,\"key\":\"%s\",\"time\":1,\"verdict\":\"infected\","
        "\"reason\":\"x\",\"size\":4,\"envelope\":{\"sender\":\"\",\"recipients\":[]}}\nbody",
        "X-Postern-Quarantine: {\"version\":1,\"key\":7}\nbody",
        "X-Postern-Quarantine: {\"version\":1,\"key\":\"%s\",\"time\":1,\"verdict\":\"fine\","
        "\"reason\":\"x\",\"size\":4,\"envelope\":{\"sender\":\"\",\"recipients\":[]}}\nbody",
        "X-Postern-Quarantine: {\"version\":1,\"key\":\"%s\",\"time\":1,\"verdict\":\"infected\","
        "\"reason\":\"x\",\"size\":9,\"envelope\":{\"sender\":\"\",\"recipients\":[]}}\nbody",
        "X-Postern-Quarantine: {\"version\":1,\"key\":\"%s\",\"time\":1,\"verdict\":\"infected\","
        "\"reason\":\"x\",\"size\":4,\"envelope\":{\"sender\":7,\"recipients\":[]}}\nbody",
        "X-Postern-Quarantine: {\"version\":1,\"key\":\"another\",\"time\":1,"
        "\"verdict\":\"infected\",\"reason\":\"x\",\"size\":4,"
        "\"envelope\":{\"sender\":\"\",\"recipients\":[]}}\nbody",
        "X-Postern-Quarantine: {\"version\":2,\"key\":\"%s\",\"time\":1,\"verdict\":\"infected\","
        "\"reason\":\"x\",\"size\":4,\"envelope\":{\"sender\":\"\",\"recipients\":[]}}\nbody",
    };
    struct fixture *f = *data;
    fill_and_close(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(strange); i++) {
        fixture_put(f, i, strange[i]);
    }
    g_autofree char *fifo = fixture_path(f, 100);
    g_autofree char *link = fixture_path(f, 101);
    g_autofree char *folder = fixture_path(f, 102);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    g_autofree char *outside = g_build_filename(f->dir, "outside", NULL);
    fixture_put(f, 101, header_good);
    assert_int_equal(rename(link, outside), 0);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    fixture_put(f, 200, header_good); /* so that the others are not refused for a typing error */
    g_autoptr(state_t) state = fixture_open(f);
    json_t *rows = NULL;
    assert_int_equal(fixture_list(state, 0, 100, &rows), 0);
    assert_int_equal(json_array_size(rows), 3);
    json_decref(rows);
    assert_int_equal(fixture_files(f, ".eml"), 2 + G_N_ELEMENTS(strange) + 3 + 1);
}

/* A note that cannot be read (a restored backup, a folder) keeps nobody from starting. */
static void
test_strange_notes(void **data)
{
    struct fixture *f = *data;
    fill_and_close(f);
    g_autofree char *file = fixture_first_file(f);
    g_autofree char *note = g_strdup_printf("%.*s.release", (int)strlen(file) - 4, file);
    assert_int_equal(mkdir(note, 0700), 0);
    struct state *state = fixture_open(f);
    assert_int_equal(fixture_attempts(state, "one"), 1);
    assert_int_equal(fixture_attempts(state, "two"), 1);
    state_close(state);
}

static void
test_temporary_files_removed(void **data)
{
    struct fixture *f = *data;
    g_autofree char *tmp = g_build_filename(f->dir, "state/quarantine/.tmp-12", NULL);
    fill_and_close(f);
    assert_true(g_file_set_contents(tmp, "half", -1, NULL));
    fixture_close(fixture_open(f));
    assert_int_equal(access(tmp, F_OK), -1);
    assert_int_equal(fixture_files(f, ".eml"), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_database_lost),    T(test_database_garbage),
        T(test_database_damaged), T(test_file_lost_while_open),
        T(test_row_without_file), T(test_adoption_of_strange_files),
        T(test_strange_notes),    T(test_temporary_files_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

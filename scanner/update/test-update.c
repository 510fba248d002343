/* SPDX-License-Identifier: GPL-2.0-only */
/* When postern-update looks, from where, and what it offers. The way over a mirror is in
 * scanner/e2e/test_update.py. */
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
#include <time.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "cooldown.h"
#include "offer.h"
#include "schedule.h"
#include "source.h"

#define NOW 1000000
#define HOUR 3600

static void
remove_all(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        remove_all(below);
    }
    g_clear_pointer(&dir, g_dir_close);
    (void)g_remove(path);
}

static void
test_schedule(void **data)
{
    (void)data;
    const struct {
        gint64 last;
        guint failures;
        guint32 chance;
        gint64 next;
    } rows[] = {
        {0, 0, 0, NOW},
        {0, 0, G_MAXUINT32, NOW + G_MAXUINT32 % 61},
        {NOW - 10, 0, 0, NOW - 10 + HOUR},
        {NOW - 10, 0, 601, NOW - 10 + HOUR},
        {NOW - 10, 0, 600, NOW - 10 + HOUR + 600},
        {NOW - 9 * HOUR, 0, 7, NOW - 8 * HOUR + 7},
        {NOW - 10, 1, 0, NOW - 10 + 300},
        {NOW - 10, 1, 75, NOW - 10 + 375},
        {NOW - 10, 3, 0, NOW - 10 + 1200},
        {NOW - 10, 5, 0, NOW - 10 + HOUR},
        {NOW - 10, 4000000000U, 0, NOW - 10 + HOUR},
        {NOW + 86400, 0, 0, NOW}, /* the clock was a day ahead */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const struct schedule schedule = {
            .interval = HOUR, .jitter = 600, .last = rows[i].last, .failures = rows[i].failures};
        assert_int_equal(schedule_next(&schedule, NOW, rows[i].chance), rows[i].next);
    }
}

static void
test_must_wait(void **data)
{
    (void)data;
    assert_false(schedule_must_wait(0, NOW));
    assert_false(schedule_must_wait(NOW, NOW));
    assert_true(schedule_must_wait(NOW + 1, NOW));
    assert_true(schedule_must_wait(NOW + SCHEDULE_WAIT_MAX, NOW));
    assert_false(schedule_must_wait(NOW + SCHEDULE_WAIT_MAX + 1, NOW));
}

static void
write_dat(const char *path, const char *magic, uint32_t version, time_t until)
{
    const struct {
        uint32_t version;
        char uuid[37];
        time_t until;
    } dat = {.version = version, .until = until};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(magic, file);
    fwrite(&dat, sizeof dat, 1, file);
    fclose(file);
}

static void
test_cooldown(void **data)
{
    (void)data;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "freshclam.dat", NULL);
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(cooldown_read(fd), 0);
    write_dat(path, "FreshClamData", 1, NOW);
    assert_int_equal(cooldown_read(fd), NOW);
    cooldown_limit(fd, NOW - 86400);
    assert_int_equal(cooldown_read(fd), NOW);
    cooldown_limit(fd, NOW - 86401);
    assert_int_equal(cooldown_read(fd), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    write_dat(path, "FreshClamDatA", 1, NOW);
    assert_int_equal(cooldown_read(fd), 0);
    write_dat(path, "FreshClamData", 2, NOW);
    assert_int_equal(cooldown_read(fd), 0);
    close(fd);
    remove_all(dir);
}

/* Settings with update_dir in DIR, and MORE. */
static struct settings *
settings_of(const char *dir, const char *more)
{
    g_autofree char *path = g_build_filename(dir, "postern.conf", NULL);
    g_autofree char *text = g_strdup_printf("update_dir = \"%s\"\n%s", dir, more);
    g_autofree char *error = NULL;
    assert_true(g_file_set_contents(path, text, -1, NULL));
    struct settings *settings = settings_load(path, &error);
    assert_non_null(settings);
    return settings;
}

static void
test_sources(void **data)
{
    (void)data;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autoptr(settings_t) usual = settings_of(dir, "");
    g_autoptr(GPtrArray) sources = sources_of(usual);
    assert_int_equal(sources->len, 1);
    const struct source *official = source_find(sources, SOURCE_OFFICIAL);
    g_autofree char *origin = source_origin(official, usual);
    assert_string_equal(origin, "https://database.clamav.net");
    assert_int_equal(g_strv_length(official->files), 3);

    g_autoptr(settings_t) own =
        settings_of(dir, "update_databases = { \"none\" }\n"
                         "update_urls = { \"https://me:secret@example.org/a@b/x.ndb\" }\n");
    g_autoptr(GPtrArray) urls = sources_of(own);
    assert_int_equal(urls->len, 1);
    const struct source *url = g_ptr_array_index(urls, 0);
    g_autofree char *shown = source_origin(url, own);
    assert_string_equal(shown, "https://example.org/a@b/x.ndb");
    assert_string_equal(url->files[0], "x.ndb");
    assert_null(source_find(urls, SOURCE_OFFICIAL));
    remove_all(dir);
}

static void
put_in(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* A power cut leaves what was not sealed in any state. */
static void
test_seal(void **data)
{
    (void)data;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *error = NULL;
    g_autoptr(settings_t) settings = settings_of(dir, "");
    int fd = source_open(settings, SOURCE_OFFICIAL, &error);
    assert_true(fd >= 0);
    put_in(fd, "main.cvd", "main");
    put_in(fd, "daily.cvd", "daily");
    put_in(fd, "freshclam.dat", "dat");
    assert_int_equal(source_seal(fd), 0);
    put_in(fd, "daily.cvd", "dail");
    put_in(fd, "bytecode.cvd", "half");
    put_in(fd, "tmp/left", "left");
    close(fd);
    fd = source_open(settings, SOURCE_OFFICIAL, &error);
    assert_int_equal(faccessat(fd, "main.cvd", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "freshclam.dat", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "tmp", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "tmp/left", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "daily.cvd", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "bytecode.cvd", F_OK, 0), 0);
    close(fd);
    remove_all(dir);
}

static void
test_offer(void **data)
{
    (void)data;
    struct offer offer;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *local = g_build_filename(dir, "local", NULL);
    g_autofree char *more = g_strdup_printf("update_databases = { \"test\" }\n"
                                            "update_directories = { \"%s\" }\n",
                                            local);
    g_autofree char *error = NULL;
    g_autoptr(settings_t) settings = settings_of(dir, more);
    assert_int_equal(mkdir(local, 0755), 0);
    int ours = open(local, O_RDONLY | O_DIRECTORY);
    put_in(ours, "own.ndb", "own");
    put_in(ours, "README", "no signatures");

    assert_int_equal(offer_make(settings, &offer, &error), -ENOENT);
    assert_non_null(strstr(error, "test: has never been fetched"));
    g_clear_pointer(&error, g_free);
    int fd = source_open(settings, SOURCE_OFFICIAL, &error);
    put_in(fd, "test.cvd", "test");
    assert_int_equal(offer_make(settings, &offer, &error), 0);
    assert_true(offer.is_new);
    assert_int_equal(offer_make(settings, &offer, &error), 0);
    assert_false(offer.is_new);

    g_autofree char *first = g_strdup(offer.name);
    put_in(ours, "own.ndb", "OWN");
    assert_int_equal(offer_make(settings, &offer, &error), 0);
    assert_true(offer.is_new);
    assert_string_not_equal(offer.name, first);
    put_in(ours, "test.cvd", "a twin");
    assert_int_equal(offer_make(settings, &offer, &error), -EEXIST);
    close(ours);
    close(fd);
    remove_all(dir);
}

static void
test_shown(void **state)
{
    static const struct {
        const char *text;
        const char *shown;
    } rows[] = {
        {"", ""},
        {"Can't download x.ndb from https://me:se@cret@host:1/a@b/x.ndb",
         "Can't download x.ndb from https://host:1/a@b/x.ndb"},
        {"http://a:b@one/ and 'http://c@two' and http://three mail@four",
         "http://one/ and 'http://two' and http://three mail@four"},
        {"http://", "http://"},
        {"x://y@", "x://"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *shown = source_shown(rows[i].text);
        assert_string_equal(shown, rows[i].shown);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule), cmocka_unit_test(test_must_wait),
        cmocka_unit_test(test_cooldown), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_seal),     cmocka_unit_test(test_offer),
        cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

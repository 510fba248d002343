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

#include "bound.h"
#include "cooldown.h"
#include "offer.h"
#include "schedule.h"
#include "source.h"
#include "test-tree.h"

#define NOW 1000000
#define HOUR 3600

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
    test_tree_remove(dir);
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
    test_tree_remove(dir);
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
    g_autoptr(GPtrArray) sources = sources_of(settings);
    const struct source *official = source_find(sources, SOURCE_OFFICIAL);
    int fd = source_open(settings, SOURCE_OFFICIAL, &error);
    assert_true(fd >= 0);
    put_in(fd, "main.cvd", "main");
    put_in(fd, "daily.cvd", "daily");
    put_in(fd, "freshclam.dat", "dat");
    put_in(fd, "junk.ndb", "of one that was taken over");
    put_in(fd, "bytecode.cld", "ClamAV-VDB:half a database, as libfreshclam put it together");
    assert_int_equal(source_seal(official, fd), 0);
    assert_int_equal(faccessat(fd, "bytecode.cld", F_OK, 0), 0); /* so the offer tells why */
    assert_int_not_equal(faccessat(fd, "junk.ndb", F_OK, 0), 0);
    put_in(fd, "daily.cvd", "dail");
    put_in(fd, "bytecode.cvd", "half");
    assert_int_equal(mkdirat(fd, "tmp", 0700), 0);
    put_in(fd, "tmp/left", "left");
    close(fd);
    fd = source_open(settings, SOURCE_OFFICIAL, &error);
    assert_int_equal(faccessat(fd, "main.cvd", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "freshclam.dat", F_OK, 0), 0);
    assert_int_equal(faccessat(fd, "tmp", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "tmp/left", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "bytecode.cld", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "daily.cvd", F_OK, 0), 0);
    assert_int_not_equal(faccessat(fd, "bytecode.cvd", F_OK, 0), 0);
    close(fd);
    test_tree_remove(dir);
}

/* An offer of what DIR has now: the name, and the first problem (NULL: none). */
static char *
offered(const struct settings *settings, gboolean is_new, const char *problem)
{
    struct offer offer;
    g_autofree char *error = NULL;
    assert_int_equal(offer_make(settings, &offer, &error), 0);
    assert_null(error);
    assert_int_equal(offer.is_new, is_new);
    assert_int_equal(offer.problems->len, problem != NULL ? 1 : 0);
    if (problem != NULL) {
        const struct offer_problem *first = g_ptr_array_index(offer.problems, 0);
        assert_non_null(strstr(first->error, problem));
    }
    offer_clear(&offer);
    return g_strdup(offer.name);
}

static void
test_offer(void **data)
{
    (void)data;
    struct offer offer;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *local = g_build_filename(dir, "local", NULL);
    g_autofree char *away = g_build_filename(dir, "away", NULL);
    g_autofree char *more = g_strdup_printf("update_databases = { \"test\" }\n"
                                            "update_directories = { \"%s/\" }\n"
                                            "update_size = 4096\n",
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
    offer_clear(&offer);
    int fd = source_open(settings, SOURCE_OFFICIAL, &error);
    put_in(fd, "test.cvd", "test");
    g_autofree char *first = offered(settings, TRUE, NULL);
    g_autofree char *same = offered(settings, FALSE, NULL);
    assert_string_equal(first, same);

    put_in(ours, "own.ndb", "OWN");
    g_autofree char *second = offered(settings, TRUE, NULL);
    assert_string_not_equal(second, first);

    /* What goes wrong there keeps nothing else back, and what came from there before stays. */
    put_in(ours, "test.cvd", "a twin");
    g_autofree char *twin = offered(settings, FALSE, "comes from two sources");
    assert_int_equal(unlinkat(ours, "test.cvd", 0), 0);
    put_in(ours, "Test.cld", "the same database, which nobody signed");
    g_autofree char *cld = offered(settings, FALSE, "comes from two sources");
    assert_int_equal(unlinkat(ours, "Test.cld", 0), 0);
    put_in(ours, "off.cfg", "PE:0x0\n");
    g_autofree char *off = offered(settings, FALSE, "off.cfg: switches parts of the scanner off");
    assert_int_equal(unlinkat(ours, "off.cfg", 0), 0);
    put_in(ours, "half.cld", "ClamAV-VDB:half a database");
    g_autofree char *half = offered(settings, FALSE, "half.cld: is cut off");
    assert_int_equal(unlinkat(ours, "half.cld", 0), 0);
    put_in(ours, "own.ndb", "");
    g_autofree char *empty = offered(settings, FALSE, "own.ndb: is empty");
    g_autofree char *large = g_strnfill(5000, 'x');
    put_in(ours, "own.ndb", large);
    g_autofree char *size = offered(settings, FALSE, "larger than update_size");
    assert_int_equal(rename(local, away), 0);
    g_autofree char *gone = offered(settings, FALSE, "No such file or directory");
    assert_string_equal(twin, second);
    assert_string_equal(cld, second);
    assert_string_equal(off, second);
    assert_string_equal(half, second);
    assert_string_equal(empty, second);
    assert_string_equal(size, second);
    assert_string_equal(gone, second);
    put_in(fd, "test.cvd", "newer");
    g_autofree char *newer = offered(settings, TRUE, "No such file or directory");
    g_autofree char *kept = g_build_filename(dir, "offer", "own.ndb", NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(kept, &text, NULL, NULL));
    assert_string_equal(text, "OWN");
    /* An empty directory is what somebody wants. */
    assert_int_equal(mkdir(local, 0755), 0);
    g_autofree char *emptied = offered(settings, TRUE, NULL);
    assert_int_not_equal(access(kept, F_OK), 0);
    close(ours);
    close(fd);
    test_tree_remove(dir);
}

/* What one fetch may take. */
static void
test_bound(void **data)
{
    (void)data;
    struct bound bound;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *error = NULL;
    g_autoptr(settings_t) settings =
        settings_of(dir, "update_databases = { \"test\" }\nupdate_size = 10000\n"
                         "update_urls = { \"http://a/a.ndb\", \"http://a/b.ndb\" }\n");
    g_autoptr(GPtrArray) sources = sources_of(settings);
    g_autofree char *text = g_strnfill(3000, 'x');
    const struct source *official = g_ptr_array_index(sources, 0);
    const struct source *one = g_ptr_array_index(sources, 1);
    const struct source *two = g_ptr_array_index(sources, 2);
    int fd = source_open(settings, official->name, &error);
    int fd_one = source_open(settings, one->name, &error);
    int fd_two = source_open(settings, two->name, &error);
    put_in(fd, "test.cvd", text);
    put_in(fd_two, "b.ndb", text);
    assert_int_equal(bound_begin(&bound, settings, sources, official, fd, &error), 0);
    assert_int_equal(bound.file, 10000);
    assert_int_equal(bound_begin(&bound, settings, sources, one, fd_one, &error), 0);
    assert_int_equal(bound.file, 4000);
    g_autofree char *why = bound_text(&bound);
    assert_non_null(strstr(why, "4000 bytes that update_size leaves"));
    assert_null(bound_broken(&bound));
    for (int i = 0; i < 6; i++) {
        g_autofree char *name = g_strdup_printf("tmp/%d", i);
        put_in(fd_one, name, "x");
    }
    g_autofree char *broken = bound_broken(&bound);
    assert_non_null(strstr(broken, "more than twice update_size"));
    close(fd);
    close(fd_one);
    close(fd_two);
    test_tree_remove(dir);
}

/* A URL that is configured no more leaves nothing behind. */
static void
test_tidy(void **data)
{
    (void)data;
    g_autofree char *dir = g_dir_make_tmp("postern-update-XXXXXX", NULL);
    g_autofree char *error = NULL;
    g_autoptr(settings_t) settings = settings_of(dir, "");
    g_autoptr(GPtrArray) sources = sources_of(settings);
    int fd = source_open(settings, SOURCE_OFFICIAL, &error);
    int old = source_open(settings, "url-0123456789ab", &error);
    put_in(fd, "main.cvd", "main");
    put_in(old, "tmp/x", "x");
    sources_tidy(settings, sources);
    g_autofree char *gone = source_dir(settings, "url-0123456789ab");
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_int_equal(faccessat(fd, "main.cvd", F_OK, 0), 0);
    close(fd);
    close(old);
    test_tree_remove(dir);
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
        cmocka_unit_test(test_bound),    cmocka_unit_test(test_tidy),
        cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

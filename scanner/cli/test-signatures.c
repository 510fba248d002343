/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures add */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test-postern.h"

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
    const char *name;
    int n = 0;
    while (handle != NULL && (name = g_dir_read_name(handle)) != NULL) {
        n += strcmp(name, ".lock") != 0 ? 1 : 0;
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
    assert_int_equal(count_names(dir), 3);
    POSTERN(b, &r, "signatures", "add", "--json", source, three);
    json_t *json = json_loads(r.out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(json, "files")), 3);
    json_decref(json);
    check(&r, 0, "", "");
    g_autofree char *second = current_of(dir);
    assert_string_not_equal(first, second);
    assert_int_equal(count_names(dir), 4);

    /* Other content under the same name is another generation; back again is the first. */
    g_free(put(b, "source/one.ndb", "ONE"));
    POSTERN(b, &r, "signatures", "add", source);
    check(&r, 0, "is current", "");
    assert_int_equal(count_names(dir), 5);
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
        assert_int_equal(count_names(dir), 3);
    }
    POSTERN(b, &r, "signatures", "add");
    check(&r, 2, "", "needs a signature file");
}

/* Who adopts an older one hears what keeps it. */
static void
test_adopt_says_how_it_stays(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *dir = signatures_dir(b);
    g_autofree char *one = put(b, "one.ndb", "one");
    POSTERN(b, &r, "signatures", "add", one);
    check(&r, 0, "is current", "");
    g_autofree char *first = current_of(dir);
    POSTERN(b, &r, "signatures", "adopt", first);
    assert_null(strstr(r.out, "keeps it away"));
    check(&r, 0, "is current", "");
    g_autofree char *two = put(b, "two.ndb", "two");
    POSTERN(b, &r, "signatures", "add", two);
    check(&r, 0, "is current", "");
    g_autofree char *hint = g_strdup_printf("`postern signatures pin %s` keeps it away", first);
    POSTERN(b, &r, "signatures", "adopt", first);
    check(&r, 0, hint, "");
    POSTERN(b, &r, "signatures", "adopt", "--json", first);
    json_t *json = json_loads(r.out, 0, NULL);
    assert_non_null(json);
    json_decref(json);
    check(&r, 0, "", "");
    POSTERN(b, &r, "signatures", "pin", first);
    check(&r, 0, "", "");
    POSTERN(b, &r, "signatures", "adopt", first);
    assert_null(strstr(r.out, "keeps it away"));
    check(&r, 0, "is current", "");
}

/* What a maker that was killed left behind is cleared by the next one. */
static void
test_signatures_after_crash(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    g_autofree char *dir = signatures_dir(b);
    g_autofree char *half = g_build_filename(dir, ".tmp-generation", NULL);
    g_autofree char *link = g_build_filename(dir, ".tmp-link", NULL);
    g_autofree char *one = put(b, "one.ndb", "one");
    assert_int_equal(g_mkdir_with_parents(half, 0700), 0);
    g_free(put(b, "signatures/.tmp-generation/x.ndb", "half"));
    assert_int_equal(symlink("nowhere", link), 0);
    POSTERN(b, &r, "signatures", "add", one);
    check(&r, 0, "(1 file(s), 3 bytes) is current", "");
    assert_int_equal(count_names(dir), 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_signatures),
        T(test_signatures_refused),
        T(test_adopt_says_how_it_stays),
        T(test_signatures_after_crash),
    };
    postern_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

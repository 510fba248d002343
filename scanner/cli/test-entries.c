/* SPDX-License-Identifier: GPL-2.0-only */
/* postern quarantine list|export|release|delete, incidents, top, against a posternd in here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test-postern.h"

static json_t *
json_of(struct bench *b, const char *const words[])
{
    struct result r = {0};
    postern(b, NULL, &r, words);
    json_t *json = json_loads(r.out, 0, NULL);
    if (json == NULL) {
        fail_msg("no JSON: %s %s", r.out, r.err);
    }
    check(&r, 0, "", "");
    return json;
}
#define JSON(b, ...) json_of(b, (const char *const[]){__VA_ARGS__, "--json", NULL})

static char *
key_of(struct bench *b, const char *subject)
{
    json_t *rows = JSON(b, "quarantine", "list", "--subject", subject);
    assert_int_equal(json_array_size(rows), 1);
    char *key = g_strdup(json_string_value(json_object_get(json_array_get(rows, 0), "key")));
    json_decref(rows);
    return key;
}

static void
check_count(struct bench *b, size_t n, const char *const words[])
{
    json_t *rows = json_of(b, words);
    assert_int_equal(json_array_size(rows), n);
    json_decref(rows);
}
#define COUNT(b, n, ...) \
    check_count(b, n, (const char *const[]){"quarantine", "list", "--json", __VA_ARGS__, NULL})

static void
test_filters(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    bench_keep(b, 230);
    COUNT(b, 230, "--limit", "0");
    COUNT(b, 230, "--sender", "FROM@x");
    COUNT(b, 0, "--sender", "nobody");
    COUNT(b, 230, "--recipient", "cc@*test");
    COUNT(b, 0, "--recipient", "cc_x");
    COUNT(b, 111, "--subject", "m1*"); /* m1, m10 to m19, m100 to m199 */
    COUNT(b, 230, "--verdict", "infected", "--reason", "test.virus", "--state", "kept");
    COUNT(b, 0, "--state", "released");
    POSTERN(b, &r, "quarantine", "list", "--state", "relased");
    check(&r, 2, "",
          "--state relased: must be one of kept, releasing, released; did you mean released?");
    POSTERN(b, &r, "quarantine", "delete", "--all", "--yes", "--verdict", "virus");
    check(&r, 2, "", "--verdict virus: must be one of infected,");
    COUNT(b, 230, "--since", "1h");
    COUNT(b, 230, "--since", "yesterday", "--until", "@4000000000");
    COUNT(b, 0, "--until", "2020-01-01");
    COUNT(b, 7, "--limit", "7");
    POSTERN(b, &r, "quarantine", "list", "--limit", "3");
    assert_non_null(strstr(r.out, "--before 228"));
    assert_non_null(strstr(r.out, "m229"));
    assert_null(strstr(r.out, "m226"));
    check(&r, 0, "", "");
    POSTERN(b, &r, "quarantine", "list", "--limit", "1", "--before", "228");
    check(&r, 0, "m226", "");
    POSTERN(b, &r, "quarantine", "list", "--since", "yesterday-ish");
    check(&r, 2, "", "--since yesterday-ish is no time");
}

static void
test_delete(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    bench_keep(b, 12);
    g_autofree char *key = key_of(b, "m3");
    POSTERN(b, &r, "quarantine", "delete", key);
    check(&r, 0, "deleted", "");
    POSTERN(b, &r, "quarantine", "delete", key);
    check(&r, 1, "no such entry", "");
    POSTERN(b, &r, "quarantine", "delete");
    check(&r, 2, "", "name keys, or --all");
    POSTERN(b, &r, "quarantine", "delete", "--all", key);
    check(&r, 2, "", "exclude each other");
    POSTERN(b, &r, "quarantine", "delete", "--sender", "x", key);
    check(&r, 2, "", "goes with --all");
    POSTERN(b, &r, "quarantine", "delete", "--all");
    check(&r, 2, "", "--yes");
    assert_int_equal(fixture_files(b->fixture, ".eml"), 11);
    POSTERN(b, &r, "quarantine", "delete", "--all", "--yes", "--subject", "m1");
    check(&r, 0, "3 of 3 done", "");
    assert_int_equal(fixture_files(b->fixture, ".eml"), 8);
}

static void
test_export(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    struct stat st;
    g_autofree char *file = g_build_filename(b->fixture->dir, "exported", NULL);
    bench_keep(b, 2);
    g_autofree char *one = key_of(b, "m0");
    g_autofree char *two = key_of(b, "m1");
    POSTERN(b, &r, "quarantine", "export", one);
    assert_int_equal(strlen(r.out), FIXTURE_SIZE);
    check(&r, 0, "m0m0", "");
    POSTERN(b, &r, "quarantine", "export", "--output", file, one);
    check(&r, 0, "exported", "");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, FIXTURE_SIZE);
    POSTERN(b, &r, "quarantine", "export", "--output", file, two);
    check(&r, 2, "", "is there already");
    POSTERN(b, &r, "quarantine", "export", "--force", "--with-header", "--output", file, two);
    check(&r, 0, "", "");
    assert_int_equal(stat(file, &st), 0);
    assert_true(st.st_size > FIXTURE_SIZE);
    POSTERN(b, &r, "quarantine", "export", one, two);
    check(&r, 2, "", "--into");
    POSTERN(b, &r, "quarantine", "export", "--into", b->fixture->dir, one, two);
    g_autofree char *name = g_strconcat(b->fixture->dir, "/", two, ".eml", NULL);
    assert_int_equal(stat(name, &st), 0);
    check(&r, 0, one, "");
}

static void
test_release_without_mail_server(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    bench_keep(b, 1);
    g_autofree char *key = key_of(b, "m0");
    g_free(b->fixture->settings->release_socket);
    b->fixture->settings->release_socket = g_strdup("/nowhere/at/all");
    POSTERN(b, &r, "quarantine", "release", key);
    check(&r, 1, "release_socket = /nowhere/at/all", "");
    POSTERN(b, &r, "quarantine", "release", "--to", "a@x.test", key, "ffff");
    check(&r, 1, "0 of 2 done", "");
    json_t *rows = JSON(b, "quarantine", "list");
    const json_t *row = json_array_get(rows, 0);
    assert_string_equal(json_string_value(json_object_get(row, "state")), "kept");
    assert_int_equal(json_integer_value(json_object_get(row, "release_attempts")), 2);
    json_decref(rows);
    POSTERN(b, &r, "quarantine", "show", key);
    check(&r, 0, "Released to  a@x.test", "");
}

/* Every access, with who it was. */
static void
test_incidents(void **data)
{
    static const char *const kinds[] = {"delete", "release", "release", "export", "show", NULL};
    struct bench *b = *data;
    struct result r = {0};
    bench_keep(b, 1);
    g_autofree char *key = key_of(b, "m0");
    POSTERN(b, &r, "quarantine", "show", key);
    check(&r, 0, "", "");
    POSTERN(b, &r, "quarantine", "export", key);
    check(&r, 0, "", "");
    POSTERN(b, &r, "quarantine", "release", key);
    check(&r, 1, "", "");
    POSTERN(b, &r, "quarantine", "delete", key);
    check(&r, 0, "", "");
    json_t *rows = JSON(b, "incidents", "--key", key);
    assert_int_equal(json_array_size(rows), 5);
    for (int i = 0; kinds[i] != NULL; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        assert_string_equal(json_string_value(json_object_get(row, "kind")), kinds[i]);
        assert_int_equal(json_integer_value(json_object_get(row, "uid")), geteuid());
    }
    json_decref(rows);
    POSTERN(b, &r, "incidents", "--kind", "start");
    check(&r, 0, "epoch 1", "");
    POSTERN(b, &r, "incidents", "--kind", "nonsense");
    assert_string_equal(r.out, "");
    check(&r, 2, "", "no incidents are called \"nonsense\"; there are infected,");
    POSTERN(b, &r, "incidents", "--limit", "2", "--since", "1h");
    check(&r, 0, "There is more: --limit 0", "");
}

static void
test_top(void **data)
{
    struct bench *b = *data;
    struct result r = {0};
    POSTERN(b, &r, "top", "--once", "--interval", "1");
    check(&r, 0, "serving, 0.0 message(s)/s", "");
    json_t *top = JSON(b, "top", "--once", "-i", "1");
    assert_true(json_is_array(json_object_get(top, "senders")));
    json_decref(top);
    POSTERN(b, &r, "top", "--interval", "0");
    check(&r, 2, "", "between 1 and");
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_filters),   T(test_delete), T(test_export), T(test_release_without_mail_server),
        T(test_incidents), T(test_top),
    };
    postern_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

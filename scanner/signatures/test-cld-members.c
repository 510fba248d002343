/* SPDX-License-Identifier: GPL-2.0-only */
/* CLDs that are whole, and all that libclamav would load though it is not. None is signed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <glib.h>

#include "cld-members.h"

#define SUM "0748b843a1cea3242d70531083b84f877d8de398cfefe65509b5d3bb1e3bcb57"
#define HEAD "ClamAV-VDB:22 Jun 2021 21-34 -0400:6:14:81:X:X:builder:1624412045\n"
#define INFO HEAD "t.ndb:600:" SUM "\nt.hsb:44:" SUM "\nDSIG:abc"

static GString *
head_new(void)
{
    GString *cld = g_string_new(HEAD);
    while (cld->len < 512) {
        g_string_append_c(cld, ' ');
    }
    return cld;
}

/* FIELD: the size as the header has it. */
static void
put_as(GString *cld, const char *name, const char *field, char type, const char *content)
{
    char block[512] = "";
    memcpy(block, name, strlen(name));
    memcpy(block + 124, field, strlen(field));
    block[156] = type;
    g_string_append_len(cld, block, sizeof block);
    g_string_append(cld, content);
    while (cld->len % 512 != 0) {
        g_string_append_c(cld, '\0');
    }
}

static void
put(GString *cld, const char *name, const char *content)
{
    char field[12];
    g_snprintf(field, sizeof field, "%o", (unsigned)strlen(content));
    put_as(cld, name, field, '\0', content);
}

static void
put_filled(GString *cld, const char *name, gsize size)
{
    g_autofree char *content = g_strnfill(size, 'x');
    put(cld, name, content);
}

/* NULL: leaves it out. */
static GString *
cld_new(const char *info, const char *but)
{
    GString *cld = head_new();
    put(cld, "COPYING", "may be copied");
    if (info != NULL) {
        put(cld, "t.info", info);
    }
    if (g_strcmp0(but, "t.ndb") != 0) {
        put_filled(cld, "t.ndb", 600);
    }
    if (g_strcmp0(but, "t.hsb") != 0) {
        put_filled(cld, "t.hsb", 44);
    }
    return cld;
}

/* ERROR: part of the sentence; NULL: nothing is wrong. Frees CLD. */
static void
expect_as(const char *name, GString *cld, gsize size, const char *error)
{
    g_autofree char *got = NULL;
    int fd = memfd_create("cld", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, cld->str, size), size);
    int rc = cld_members_check(fd, name, "/in/t.cld", &got);
    if (error == NULL && got != NULL) {
        fail_msg("%s", got);
    }
    assert_int_equal(rc, error == NULL ? 0 : -EBADMSG);
    if (error != NULL && strstr(got, error) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", error, got);
    }
    assert_true(error == NULL || g_str_has_prefix(got, "/in/t.cld: "));
    close(fd);
    g_string_free(cld, TRUE);
}

static void
expect(GString *cld, const char *error)
{
    expect_as("t.cld", cld, cld->len, error);
}

static void
test_whole(void **data)
{
    (void)data;
    expect(cld_new(INFO, NULL), NULL);
    expect(cld_new(INFO "\n", NULL), NULL);
    /* An end mark is no fault, and libclamav reads nothing behind it. */
    GString *marked = cld_new(INFO, NULL);
    g_string_set_size(marked, marked->len + 1024);
    memset(marked->str + marked->len - 1024, 0, 1024);
    expect(marked, NULL);
    /* What is listed with no bytes holds nothing. */
    expect(cld_new(HEAD "t.fp:0:" SUM "\nt.ndb:600:" SUM "\nDSIG:abc", NULL), NULL);
    expect_as("T.CLD", cld_new(INFO, NULL), 512 * 10, NULL);
    /* Others are not looked at. */
    expect_as("t.cvd", cld_new(NULL, NULL), 600, NULL);
    expect_as("t.ndb", cld_new(NULL, NULL), 600, NULL);
    expect_as("cld", cld_new(NULL, NULL), 600, NULL);
}

/* Each size but the whole one: libclamav loads it when it is cut between two files. */
static void
test_cut(void **data)
{
    (void)data;
    g_autoptr(GString) whole = cld_new(INFO, NULL);
    assert_int_equal(whole->len, 512 * 10);
    for (gsize size = 0; size < whole->len; size++) {
        const char *error = size % 512 != 0 || size <= 512 ? "is cut off" : NULL;
        error = error != NULL     ? error
                : size <= 3 * 512 ? ": "
                : size == 5 * 512 ? "lacks t.ndb that its t.info lists"
                : size == 8 * 512 ? "lacks t.hsb that its t.info lists"
                                  : "is cut off within its t.";
        expect_as("t.cld", g_string_new_len(whole->str, (gssize)whole->len), size, error);
    }
}

static void
test_left_out(void **data)
{
    (void)data;
    expect(cld_new(INFO, "t.ndb"), "lacks t.ndb that its t.info lists");
    expect(cld_new(INFO, "t.hsb"), "lacks t.hsb that its t.info lists");
    GString *marked = cld_new(INFO, "t.hsb");
    g_string_set_size(marked, marked->len + 512);
    memset(marked->str + marked->len - 512, 0, 512);
    put_filled(marked, "t.hsb", 44);
    expect(marked, "lacks t.hsb");
    /* libclamav looks at none that has no bytes. */
    GString *emptied = cld_new(INFO, "t.hsb");
    put(emptied, "t.hsb", "");
    expect(emptied, "its t.hsb has 0 bytes, not the 44 that its t.info lists");
    GString *twice = cld_new(INFO, NULL);
    put_filled(twice, "t.hsb", 43);
    expect(twice, "its t.hsb has 43 bytes, not the 44");
    GString *other = cld_new(INFO, "t.hsb");
    put_filled(other, "T.hsb", 44);
    expect(other, "lacks t.hsb");
}

static void
test_no_info(void **data)
{
    (void)data;
    expect(cld_new(NULL, NULL), "lacks t.info, the signed list of its files");
    expect_as("daily.cld", cld_new(INFO, NULL), 512 * 10,
              "lacks daily.info, the signed list of its files");
    /* libclamav takes the first. */
    GString *second = head_new();
    put(second, "COPYING", "");
    put(second, "x.info", HEAD "COPYING:0:" SUM "\nDSIG:");
    put(second, "t.info", INFO);
    expect(second, "lacks t.info");
}

static void
test_bad_info(void **data)
{
    (void)data;
    static const char *const infos[] = {
        "",
        "garbage",
        HEAD,
        "DSIG:abc",
        HEAD "DSIG:abc",
        HEAD "t.ndb:600:" SUM,
        "t.ndb:600:" SUM "\nt.hsb:44:" SUM "\nDSIG:abc",
        HEAD HEAD "t.ndb:600:" SUM "\nDSIG:abc",
        HEAD "\nt.ndb:600:" SUM "\nDSIG:abc",
        HEAD "t.ndb:600\nDSIG:abc",
        HEAD ":600:" SUM "\nDSIG:abc",
        HEAD "t.ndb::" SUM "\nDSIG:abc",
        HEAD "t.ndb:-600:" SUM "\nDSIG:abc",
        HEAD "t.ndb:600x:" SUM "\nDSIG:abc",
        HEAD "t.ndb:2147483648:" SUM "\nDSIG:abc",
        HEAD "t.ndb:99999999999999999999999999:" SUM "\nDSIG:abc",
        HEAD "t.ndb:600:" SUM ":more\nDSIG:abc",
        HEAD "t.ndb:600:0748\nDSIG:abc",
        HEAD "t.ndb:600:" SUM "\r\nDSIG:abc",
        HEAD "t.ndb:600:" SUM "\n\xff"
             "DSIG:abc",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(infos); i++) {
        expect(cld_new(infos[i], NULL), "its t.info is damaged");
    }
    /* What comes after a zero would be no part of what is signed. */
    GString *zero = head_new();
    put(zero, "t.info", INFO);
    zero->str[1024 + strlen(HEAD) + 3] = '\0';
    expect(zero, "its t.info is damaged");
}

static void
test_much(void **data)
{
    (void)data;
    GString *files = cld_new(INFO, NULL);
    for (int i = 0; i < 252; i++) {
        put(files, "COPYING", "");
    }
    expect_as("t.cld", g_string_new_len(files->str, (gssize)files->len), files->len, NULL);
    put(files, "COPYING", "");
    expect(files, "has more than 256 files");
    g_autoptr(GString) lines = g_string_new(HEAD);
    for (int i = 0; i < 256; i++) {
        g_string_append(lines, "t.ndb:600:" SUM "\n");
    }
    g_autofree char *most = g_strconcat(lines->str, "DSIG:abc", NULL);
    expect(cld_new(most, NULL), NULL);
    g_autofree char *more = g_strconcat(lines->str, "t.ndb:600:" SUM "\nDSIG:abc", NULL);
    expect(cld_new(more, NULL), "its t.info is damaged");
    g_autofree char *filling = g_strnfill(65536, 'x');
    g_autofree char *large = g_strconcat(INFO, filling, NULL);
    expect(cld_new(large, NULL), "its t.info is damaged");
}

static void
test_numbers(void **data)
{
    (void)data;
    static const struct {
        const char *field;
        char type;
        const char *error;
    } rows[] = {
        {"37777777777", '0', "is cut off within its x.ndb"},
        {"40000000000", '0', "the entry of its x.ndb is damaged"},
        {"777777777777", '0', "the entry of its x.ndb is damaged"},
        {"", '0', "the entry of its x.ndb is damaged"},
        {"-1", '0', "the entry of its x.ndb is damaged"},
        {" 1", '0', "the entry of its x.ndb is damaged"},
        {"8", '0', "the entry of its x.ndb is damaged"},
        {"1x", '0', "the entry of its x.ndb is damaged"},
        {"0", '5', "the entry of its x.ndb is damaged"},
        {"0", 'L', "the entry of its x.ndb is damaged"},
        {"00000000000 ", '0', NULL},
        {"000000000000", '0', NULL},
        {"1", '0', NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GString *cld = cld_new(INFO, NULL);
        put_as(cld, "x.ndb", rows[i].field, rows[i].type, rows[i].field[0] == '1' ? "x" : "");
        expect(cld, rows[i].error);
    }
    GString *dirty = cld_new(INFO, NULL);
    put_as(dirty, "\x1b[2Jx", "9", '0', "");
    expect(dirty, "the entry of its \\x1b[2Jx");
    GString *packed = cld_new(INFO, NULL);
    memcpy(packed->str + 512, "\x1f\x8b", 2);
    expect(packed, "is compressed");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),    cmocka_unit_test(test_cut),
        cmocka_unit_test(test_left_out), cmocka_unit_test(test_no_info),
        cmocka_unit_test(test_bad_info), cmocka_unit_test(test_much),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

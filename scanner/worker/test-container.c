/* SPDX-License-Identifier: GPL-2.0-only */
/* Containers: recognised by their first bytes, and held to what they announce. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "container.h"
#include "hidden.h"
#include "layers.h"
#include "members.h"
#include "streams.h"

#define LIMIT (1 << 20)
#define SIZE LIMIT

static unsigned char buffer[SIZE];

static const char *
name_of(size_t offset, const char *bytes, size_t len)
{
    memset(buffer, 0, sizeof buffer);
    memcpy(buffer + offset, bytes, len);
    const struct container *container = container_detect(buffer, sizeof buffer, NULL);
    return container != NULL ? container->name : NULL;
}

#define NAME(offset, bytes) name_of(offset, bytes, sizeof bytes - 1)

static void
test_magic(void **state)
{
    (void)state;
    assert_string_equal(NAME(0, "PK\003\004"), "ZIP archive");
    assert_string_equal(NAME(0, "Rar!\032\007\001"), "RAR archive");
    assert_string_equal(NAME(0, "7z\274\257\047\034"), "7z archive");
    assert_string_equal(NAME(0, "\050\265\057\375"), "Zstandard file");
    assert_string_equal(NAME(257, "ustar"), "tar archive");
    assert_string_equal(NAME(32769, "CD001"), "ISO 9660 image");
    assert_string_equal(NAME(0, "\x1f\x9d\x90"), "compress file");
    assert_string_equal(NAME(0, "\x5e\x2aM\x18"), "Zstandard or LZ4 file");
    assert_string_equal(NAME(0, "BZh91AY&SY"), "bzip2 file");
    assert_string_equal(NAME(0, "\x20\x50-lh5-"), "LHA archive");
    assert_string_equal(NAME(0, "\x60\xea\x27\x00\x1e\x07\x01\x00\x10\x00\x02\x00"), "ARJ archive");
    assert_string_equal(NAME(0, "\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0"), "LZMA file");
}

static bool
several_bzip2(const char *text)
{
    return streams_bzip2((const unsigned char *)text, strlen(text));
}

static void
test_streams_of_bzip2(void **state)
{
    (void)state;
    assert_true(several_bzip2("BZh91AY&SY.....BZh11AY&SY"));
    assert_false(several_bzip2("BZh91AY&SY.........1AY&SY"));
    assert_false(several_bzip2("BZh91AY&SY.....BZh"));
    assert_false(several_bzip2("BZ"));
}

/* "a", twice: printf a | gzip -n; printf a | xz -C none. */
static void
test_streams_of_gzip_and_xz(void **state)
{
    (void)state;
    static const char gz[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x04\0\x43\xbe\xb7\xe8\x01\0\0";
    unsigned char twice[2 * sizeof gz + 9] = {0};
    memcpy(twice, gz, sizeof gz);
    assert_false(streams_gzip(twice, sizeof twice, LIMIT));
    memcpy(twice + sizeof gz + 9, gz, sizeof gz);
    assert_true(streams_gzip(twice, sizeof twice, LIMIT));
    assert_false(streams_gzip(twice, sizeof twice, 0));
    assert_false(streams_gzip(twice, 12, LIMIT));
    assert_true(streams_xz((const unsigned char *)"\3757zXZ\0", 6));
}

static void
test_inflate(void **state)
{
    (void)state;
    static const unsigned char a[] = "\x78\x9c\x4b\x04\x00\x00\x62\x00\x62";
    g_autoptr(GByteArray) whole = streams_inflate(a, 9, LIMIT);
    assert_int_equal(whole->len, 1);
    assert_int_equal(whole->data[0], 'a');
    g_autoptr(GByteArray) cut = streams_inflate(a, 8, LIMIT);
    assert_int_equal(cut->len, 1);
    assert_null(streams_inflate(a, 2, LIMIT));
    assert_null(streams_inflate((const unsigned char *)"x^ is no zlib", 13, LIMIT));
}

/* Two bytes are not enough to call something an archive. */
static void
test_short_magic_is_checked(void **state)
{
    (void)state;
    assert_null(NAME(0, "\x1f\x9d\x60"));
    assert_null(NAME(0, "\x60\xea\xff\xff"));
    assert_null(NAME(0, "BZh, says the text"));
    assert_null(NAME(1, "\x2aM\x18"));
    assert_null(NAME(0, "\x5d\0\0\x81\0\x01\x02\x03\x04\x05\x06\x07\x08\0"));
    assert_null(NAME(0, "plain text"));
}

static void
test_ends_of_the_buffer(void **state)
{
    (void)state;
    static const unsigned char zip[] = "PK\003\004";
    assert_null(container_detect(zip, 3, NULL));
    assert_null(container_detect(NULL, 0, NULL));
    assert_non_null(container_detect(zip, 4, NULL));
    assert_string_equal(container_detect(zip, 1, "CL_TYPE_OLD_TAR")->name, "tar archive");
    assert_null(hidden_find((const unsigned char *)"MZ", 2));
    assert_non_null(hidden_find((const unsigned char *)"MZ..Rar!\032\007", 10));
    assert_null(hidden_find((const unsigned char *)"xx..Rar!\032\007", 10));
}

/* Behind anything but a program the mark alone is not enough: its header has a checksum. */
static void
test_rar_behind_other_content(void **state)
{
    (void)state;
    static const char rar4[] = "GIF89a..Rar!\032\007\0\xcf\x90\x73\0\0\x0d\0\0\0\0\0\0\0";
    static const char rar5[] =
        "GIF89a..Rar!\032\007\1\0\x33\x92\xb5\xe5\x0a\1\5\6\0\5\1\1\x80\x80\0";
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{rar4, sizeof rar4 - 1}, {rar5, sizeof rar5 - 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char bytes[64];
        memcpy(bytes, cases[i].bytes, cases[i].len);
        assert_non_null(hidden_find(bytes, cases[i].len));
        for (size_t len = 0; len < cases[i].len; len++) {
            assert_null(hidden_find(bytes, len));
        }
        bytes[18] ^= 1;
        assert_null(hidden_find(bytes, cases[i].len));
    }
}

/* Tar */

static unsigned char tar[16 * 512];

static void
tar_sum(unsigned char *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++) {
        sum += header[i];
    }
    snprintf((char *)header + 148, 8, "%06o", sum);
}

static unsigned char *
tar_put(size_t block, char type, unsigned size)
{
    unsigned char *header = tar + block * 512;
    memset(header, 0, 512);
    strcpy((char *)header, "name");
    snprintf((char *)header + 124, 12, "%011o", size);
    header[156] = (unsigned char)type;
    memcpy(header + 257, "ustar", 5);
    tar_sum(header);
    return header;
}

static void
test_tar_survey(void **state)
{
    (void)state;
    memset(tar, 0, sizeof tar);
    tar_put(0, '0', 1000);
    tar_put(3, '5', 0);
    tar_put(4, 'L', 20);
    unsigned char *old = tar_put(6, '\0', 0);
    memcpy(old + 124, "\x80\0\0\0\0\0\0\0\0\0\0\x40", 12); /* 64, in binary */
    memset(old + 257, 0, 5);
    tar_sum(old);
    tar_put(8, '0', 5);  /* libclamav ignores it */
    tar_put(12, '0', 6); /* after an end mark */
    struct members survey = members_of_tar(tar, sizeof tar);
    assert_int_equal(survey.count, 3);
    assert_int_equal(survey.bytes, 1070);
    assert_false(survey.odd);
    assert_int_equal(members_of_tar(tar, 511).count, 0);
    assert_int_equal(members_of_tar(tar, 512).count, 1);
    tar_put(3, '2', 512);
    assert_true(members_of_tar(tar, sizeof tar).odd);
}

/* Sizes that would overflow. */
static void
test_tar_sizes_are_bounded(void **state)
{
    (void)state;
    memset(tar, 0, sizeof tar);
    unsigned char *header = tar_put(0, '0', 0);
    for (int first = 0x80; first <= 0xff; first += 0x7f) {
        memset(header + 124, 0xff, 12);
        header[124] = (unsigned char)first;
        tar_sum(header);
        assert_int_equal(members_of_tar(tar, sizeof tar).bytes, sizeof tar - 512);
    }
}

/* A central directory entry and the end record. */
static size_t
put_entry(unsigned char *p, unsigned method, unsigned flags, uint32_t packed, uint32_t size)
{
    memset(p, 0, 46);
    memcpy(p, "PK\001\002", 4);
    p[8] = (unsigned char)flags;
    p[10] = (unsigned char)method;
    memcpy(p + 20, &packed, 4);
    memcpy(p + 24, &size, 4);
    return 46;
}

static size_t
put_end(unsigned char *p, uint32_t directory_size)
{
    memset(p, 0, 22);
    memcpy(p, "PK\005\006", 4);
    memcpy(p + 12, &directory_size, 4);
    return 22;
}

static void
test_zip_survey(void **state)
{
    (void)state;
    unsigned char zip[1024] = "PK\003\004....";
    size_t at = 8;
    at += put_entry(zip + at, 8, 0, 50, 100);
    at += put_entry(zip + at, 0, 0, 0, 0);    /* a directory */
    at += put_entry(zip + at, 0, 0, 3, 3);    /* too small to be scanned */
    at += put_entry(zip + at, 99, 1, 50, 70); /* encrypted */
    at += put_end(zip + at, (uint32_t)at - 8);
    struct zip_survey survey = container_survey_zip(zip, at);
    assert_true(survey.found);
    assert_int_equal(survey.entries, 4);
    assert_int_equal(survey.members, 2);
    assert_int_equal(survey.encrypted, 1);
    assert_int_equal(survey.bytes, 100);
    assert_int_equal(survey.method, -1);
    /* Cut off anywhere it must neither crash nor be "found" with all its entries. */
    for (size_t len = 0; len < at; len++) {
        survey = container_survey_zip(zip, len);
        assert_false(survey.found);
    }
}

static void
test_zip_method_counts_whatever_the_size(void **state)
{
    (void)state;
    unsigned char zip[256];
    size_t at = put_entry(zip, 98, 0, 50, 1);
    at += put_end(zip + at, (uint32_t)at);
    assert_int_equal(container_survey_zip(zip, at).method, 98);
}

static void
test_zip_directory_that_lies(void **state)
{
    (void)state;
    unsigned char zip[256];
    size_t at = put_entry(zip, 8, 0, 50, 100);
    put_end(zip + at, 0);
    assert_false(container_survey_zip(zip, at + 22).found);
    put_end(zip + at, UINT32_MAX);
    assert_false(container_survey_zip(zip, at + 22).found);
}

/* Layers */

static struct clam_layer
layer(unsigned level, const char *bytes, size_t size)
{
    memset(buffer, 0, sizeof buffer);
    memcpy(buffer, bytes, strlen(bytes));
    return (struct clam_layer){.level = level, .type = "", .data = buffer, .size = size};
}

static void
enter(struct layers *layers, unsigned level, const char *bytes, size_t size)
{
    struct clam_layer seen = layer(level, bytes, size);
    layers_enter(layers, &seen, NULL);
}

static void
assert_unscanned(const struct facts *facts, guint n, enum cause cause)
{
    assert_int_equal(facts->unscanned->len, n);
    if (n > 0) {
        const struct unscanned *first = g_ptr_array_index(facts->unscanned, 0);
        assert_int_equal(first->cause, cause);
    }
}

static void
test_unopened_container(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    struct layers layers;
    layers_begin(&layers, facts, LIMIT, "2");
    enter(&layers, 0, "\037\213\010", 100);
    layers_leave(&layers);
    layers_end(&layers);
    assert_unscanned(facts, 1, CAUSE_UNSUPPORTED);
    const struct unscanned *u = g_ptr_array_index(facts->unscanned, 0);
    assert_string_equal(u->part, "2");
    assert_string_equal(u->detail, "gzip file");
}

static void
test_opened_container(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    struct layers layers;
    layers_begin(&layers, facts, LIMIT, "");
    enter(&layers, 0, "\037\213\010", 100);
    enter(&layers, 1, "text", 50);
    layers_leave(&layers);
    layers_leave(&layers);
    layers_end(&layers);
    assert_unscanned(facts, 0, CAUSE_LIMIT);
}

/* What libclamav makes of a container's bytes is not what the container holds. */
static void
test_derived_layers_prove_nothing(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    struct layers layers;
    layers_begin(&layers, facts, LIMIT, "");
    enter(&layers, 0, "\037\213\010", 100);
    struct clam_layer derived = layer(1, "text", 50);
    derived.derived = true;
    layers_enter(&layers, &derived, NULL);
    layers_end(&layers);
    assert_unscanned(facts, 1, CAUSE_UNSUPPORTED);
}

static void
seven(struct facts *facts, unsigned announced, unsigned shown, guint64 size_shown, bool encrypted)
{
    struct layers layers;
    const struct clam_member member = {.container = "CL_TYPE_7Z", .size = 50};
    const struct clam_member secret = {.container = "CL_TYPE_7Z", .size = 50, .encrypted = true};
    layers_begin(&layers, facts, LIMIT, "");
    enter(&layers, 0, "7z\274\257\047\034", 100);
    for (unsigned i = 0; i < announced; i++) {
        layers_member(&layers, &member);
        if (i < shown) {
            enter(&layers, 1, "text", size_shown);
            layers_leave(&layers);
        }
    }
    if (encrypted) {
        layers_member(&layers, &secret);
    }
    layers_end(&layers);
}

static void
test_members_are_counted(void **state)
{
    (void)state;
    static const struct {
        unsigned announced;
        unsigned shown;
        guint64 size;
        bool encrypted;
        guint unscanned;
        enum cause cause;
    } cases[] = {
        {2, 2, 50, false, 0, CAUSE_LIMIT},        {2, 1, 50, false, 1, CAUSE_UNSUPPORTED},
        {2, 1, 200, false, 1, CAUSE_UNSUPPORTED}, {2, 2, 49, false, 1, CAUSE_UNSUPPORTED},
        {1, 1, 50, true, 1, CAUSE_ENCRYPTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        g_autoptr(facts_t) facts = facts_new();
        seven(facts, cases[i].announced, cases[i].shown, cases[i].size, cases[i].encrypted);
        assert_unscanned(facts, cases[i].unscanned, cases[i].cause);
    }
}

/* libclamav lists the members of archives that it finds behind other content, and shows no layer.
 */
static void
test_hidden_archives_are_counted(void **state)
{
    (void)state;
    static const struct {
        bool encrypted;
        bool shown;
        guint unscanned;
        enum cause cause;
    } cases[] = {
        {false, true, 0, CAUSE_LIMIT},
        {false, false, 1, CAUSE_UNSUPPORTED},
        {true, false, 1, CAUSE_ENCRYPTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        g_autoptr(facts_t) facts = facts_new();
        struct layers layers;
        const struct clam_member member = {
            .container = "CL_TYPE_ZIP", .size = 50, .encrypted = cases[i].encrypted};
        layers_begin(&layers, facts, LIMIT, "");
        enter(&layers, 0, "GIF89a", 100);
        layers_member(&layers, &member);
        if (cases[i].shown) {
            enter(&layers, 2, "text", 50);
        }
        layers_end(&layers);
        assert_unscanned(facts, cases[i].unscanned, cases[i].cause);
    }
}

/* One member shown, and one that libclamav never came to. */
static void
test_tar_members_are_counted(void **state)
{
    (void)state;
    for (unsigned shown = 1; shown <= 2; shown++) {
        g_autoptr(facts_t) facts = facts_new();
        struct layers layers;
        memset(tar, 0, sizeof tar);
        tar_put(0, '0', 100);
        tar_put(2, '0', 100);
        const struct clam_layer seen = {
            .level = 0, .type = "CL_TYPE_POSIX_TAR", .data = tar, .size = sizeof tar};
        layers_begin(&layers, facts, LIMIT, "");
        layers_enter(&layers, &seen, NULL);
        for (unsigned i = 0; i < shown; i++) {
            enter(&layers, 1, "text", 100);
        }
        layers_end(&layers);
        assert_unscanned(facts, 2 - shown, CAUSE_DAMAGED);
    }
}

static void
test_cut_off_file_is_a_limit(void **state)
{
    (void)state;
    static const struct {
        unsigned level;
        size_t size;
        guint unscanned;
    } cases[] = {{1, LIMIT, 1}, {1, LIMIT - 8000, 1}, {1, LIMIT - 10000, 0}, {0, LIMIT, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        g_autoptr(facts_t) facts = facts_new();
        struct layers layers;
        layers_begin(&layers, facts, LIMIT, "");
        enter(&layers, cases[i].level, "text", cases[i].size);
        layers_end(&layers);
        assert_unscanned(facts, cases[i].unscanned, CAUSE_LIMIT);
    }
}

/* A scan that breaks off, or libclamav leaving out a leave(): the stack must stand it. */
static void
test_unbalanced_layers(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    struct layers layers;
    layers_begin(&layers, facts, LIMIT, "");
    layers_leave(&layers);
    layers_member(&layers, &(struct clam_member){.container = "x"});
    enter(&layers, 5, "\037\213\010", 100);
    enter(&layers, 2, "text", 10);
    layers_end(&layers);
    assert_unscanned(facts, 1, CAUSE_UNSUPPORTED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_magic),
        cmocka_unit_test(test_short_magic_is_checked),
        cmocka_unit_test(test_ends_of_the_buffer),
        cmocka_unit_test(test_rar_behind_other_content),
        cmocka_unit_test(test_streams_of_bzip2),
        cmocka_unit_test(test_streams_of_gzip_and_xz),
        cmocka_unit_test(test_inflate),
        cmocka_unit_test(test_tar_survey),
        cmocka_unit_test(test_tar_sizes_are_bounded),
        cmocka_unit_test(test_zip_survey),
        cmocka_unit_test(test_zip_method_counts_whatever_the_size),
        cmocka_unit_test(test_zip_directory_that_lies),
        cmocka_unit_test(test_unopened_container),
        cmocka_unit_test(test_opened_container),
        cmocka_unit_test(test_derived_layers_prove_nothing),
        cmocka_unit_test(test_members_are_counted),
        cmocka_unit_test(test_hidden_archives_are_counted),
        cmocka_unit_test(test_tar_members_are_counted),
        cmocka_unit_test(test_cut_off_file_is_a_limit),
        cmocka_unit_test(test_unbalanced_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

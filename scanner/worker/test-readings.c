/* SPDX-License-Identifier: GPL-2.0-only */
/* What lenient programs read: OpenPGP packets, odd line ends, entities anywhere. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "defects.h"
#include "openpgp.h"
#include "readings.h"

#define ROOM 65536

static enum openpgp_kind
look(const void *data, size_t len, GByteArray **ret_content)
{
    return openpgp_look(data, len, ROOM, ret_content);
}

static void
assert_kind(const void *data, size_t len, enum openpgp_kind kind)
{
    GByteArray *content = NULL;
    assert_int_equal(look(data, len, &content), kind);
    assert_int_equal(content != NULL, kind == OPENPGP_OPENED);
    g_clear_pointer(&content, g_byte_array_unref);
}

/* PKESK, then SEIPD in two pieces of partial length. */
static const unsigned char encrypted[] = {0xc1, 3, 3, 0, 0, 0xd2, 0xe2, 1, 2, 3, 4, 2, 5, 6};
/* Literal "hi" in an old packet of indeterminate length. */
static const unsigned char literal[] = {0xaf, 'b', 1, 'n', 0, 0, 0, 0, 'h', 'i'};

static void
test_kinds(void **state)
{
    (void)state;
    static const unsigned char key[] = {0x99, 0, 3, 4, 1, 2};
    static const unsigned char pkesk_only[] = {0xc1, 3, 3, 0, 0};
    static const unsigned char more_behind[] = {0xd2, 2, 1, 7, 'x'};
    assert_kind(encrypted, sizeof encrypted, OPENPGP_ENCRYPTED);
    assert_kind(literal, sizeof literal, OPENPGP_OPENED);
    assert_kind(key, sizeof key, OPENPGP_NONE);
    assert_kind(pkesk_only, sizeof pkesk_only, OPENPGP_NONE);
    assert_kind(more_behind, sizeof more_behind, OPENPGP_NONE);
    assert_kind("", 0, OPENPGP_NONE);
    assert_kind("-----BEGIN PGP MESSAGE-----\n\n!\n", 31, OPENPGP_ENCRYPTED);
    assert_kind("x -----BEGIN PGP MESSAGE-----\n", 30, OPENPGP_NONE);
    assert_kind("-----BEGIN PGP SIGNED MESSAGE-----\n", 35, OPENPGP_SIGNED);
}

static void
test_cut_and_flipped(void **state)
{
    (void)state;
    const struct {
        const unsigned char *data;
        size_t len;
    } samples[] = {{encrypted, sizeof encrypted}, {literal, sizeof literal}};
    for (size_t s = 0; s < G_N_ELEMENTS(samples); s++) {
        for (size_t i = 0; i < samples[s].len; i++) {
            for (int value = 0; value < 256; value++) {
                /* Exactly as large as it is, for the sanitizer. */
                g_autofree unsigned char *copy = g_memdup2(samples[s].data, samples[s].len);
                GByteArray *content = NULL;
                copy[i] = (unsigned char)value;
                (void)look(copy, samples[s].len, &content);
                g_clear_pointer(&content, g_byte_array_unref);
            }
            g_autofree unsigned char *cut = g_memdup2(samples[s].data, i);
            GByteArray *content = NULL;
            (void)look(cut, i, &content);
            g_clear_pointer(&content, g_byte_array_unref);
        }
    }
}

static char *
normalised(const char *text, size_t len)
{
    g_autoptr(GByteArray) out = reading_normalised((const unsigned char *)text, len);
    return g_strndup((const char *)out->data, out->len);
}

static void
test_line_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        bool odd;
        const char *shown;
    } cases[] = {
        {"a\nb\n\nc", 6, false, "a\nb\n\nc"},
        {"a\r\nb\r\n\r\nc", 9, false, "a\nb\n\nc"},
        {"a\rb\r\rc", 6, true, "a\nb\n\nc"},
        {"a\n\rb\n\r\n\rc", 9, true, "a\nb\n\nc"},
        {"a\r\nb\r\r\nc", 8, true, "a\nb\n\nc"},
        {"a\0b\nc", 5, true, "ab\nc"},
        {"a\r", 2, true, "a\n"},

    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *shown = normalised(cases[i].text, cases[i].len);
        assert_string_equal(shown, cases[i].shown);
        assert_int_equal(reading_is_odd((const unsigned char *)cases[i].text, cases[i].len),
                         cases[i].odd);
    }
}

static void
collect(void *data, GByteArray *entity, bool blank)
{
    GString *all = data;
    g_string_append_printf(all, "%s[%.*s]", blank ? "" : "!", (int)entity->len,
                           (const char *)entity->data);
    g_byte_array_unref(entity);
}

static void
test_entities(void **state)
{
    (void)state;
    static const char mail[] =
        "Content-Type: a/b\n\nroot\n--x\nContent-Type: c/d\n e\r\n\r\none\r\n"
        "--y\nContent-Transfer-Encoding: base64\nAAAA\n-- \nsig\n--y--\n"
        "Subject: none\n\n--z\n--x\nContent-Type: t\n--x\nplain\n";
    g_autoptr(GString) all = g_string_new(NULL);
    reading_entities((const unsigned char *)mail, sizeof mail - 1, collect, all);
    assert_string_equal(all->str, "[Content-Type: a/b\n\nroot][Content-Type: c/d\n e\r\n\none]"
                                  "[Content-Type: c/d\n e\r\n\none\r\n--y\n"
                                  "Content-Transfer-Encoding: base64\nAAAA\n-- \nsig\n--y--\n"
                                  "Subject: none\n\n--z]"
                                  "![Content-Transfer-Encoding: base64\n\nAAAA\n-- \nsig]");
}

static void
test_longer_delimiters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool longer;
    } cases[] = {
        {"--b\nx\n--b--\n", false}, {"--b \t\r\n--b-- \r\n", false},
        {"--bx\n", true},           {"--b--x\n", true},
        {"--b-\n", true},           {"--b2\n--b2--", false},
        {"--b2x\n", true},          {"x--bx\n-- bx\n--\n", false},
    };
    static char one[] = "b", two[] = "b2", none[] = "";
    g_autoptr(GPtrArray) boundaries = g_ptr_array_new();
    g_ptr_array_add(boundaries, none);
    g_ptr_array_add(boundaries, one);
    g_ptr_array_add(boundaries, two);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *text = cases[i].text;
        assert_int_equal(
            reading_has_longer_delimiter((const unsigned char *)text, strlen(text), boundaries),
            cases[i].longer);
    }
}

static void
test_defects(void **state)
{
    (void)state;
    assert_false(defect_base64((const unsigned char *)"QUJD\r\nQQ==\r\n", 12));
    assert_true(defect_base64((const unsigned char *)"QQ==QUJD", 8));
    assert_true(defect_base64((const unsigned char *)"QU!D", 4));
    assert_false(defect_type_comment("text/plain; name=\"a(b)\\\".txt\""));
    assert_true(defect_type_comment("text/plain (x)"));
    assert_false(defect_name("gr\xc3\xbc\xc3\x9f.txt"));
    assert_true(defect_name("a\xe2\x80\xaegpj.exe"));
    assert_true(defect_name("a\x01.exe"));
    assert_false(defect_name(""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_entities),
        cmocka_unit_test(test_longer_delimiters),
        cmocka_unit_test(test_defects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

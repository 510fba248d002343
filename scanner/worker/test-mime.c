/* SPDX-License-Identifier: GPL-2.0-only */
/* Mail taken apart: what becomes a leaf, what is reported, and hostile shapes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mime.h"

static GPtrArray *
parse(const char *mail, struct facts *facts)
{
    return mime_parse((const unsigned char *)mail, strlen(mail), facts);
}

static const struct mime_leaf *
leaf(const GPtrArray *leaves, guint i)
{
    assert_true(i < leaves->len);
    return g_ptr_array_index(leaves, i);
}

static void
assert_leaf(const GPtrArray *leaves, guint i, const char *path, const char *data)
{
    assert_string_equal(leaf(leaves, i)->path, path);
    assert_int_equal(leaf(leaves, i)->size, strlen(data));
    assert_memory_equal(leaf(leaves, i)->data, data, strlen(data));
}

static void
test_looks_like_mail(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool mail;
    } cases[] = {
        {"From: a@example.com\r\n\r\nhello", true},
        {"Received : by x\n", true},
        {"\r\n\r\nSubject: x\n", true},
        {"From a@example.com Mon Jan 1\nSubject: x\n", true},
        {">From a@example.com Mon Jan 1\nSubject: x\n", true},
        {"X-Odd!Name: value\n", true},
        {"just some text\n", false},
        {"\x7f"
         "ELF\x02\x01",
         false},
        {"PK\003\004:", false},
        {": no name\n", false},
        {"", false},
        {"\n\n\n", false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *text = cases[i].text;
        bool mail = mime_looks_like_mail((const unsigned char *)text, strlen(text));
        assert_int_equal(mail, cases[i].mail);
    }
}

static void
test_parts(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves =
        parse("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
              "--b\nContent-Type: text/plain\n\none\n"
              "--b\nContent-Type: application/zip; name=a.zip\n"
              "Content-Transfer-Encoding: base64\n\ndHdv\n"
              "--b\nContent-Type: message/rfc822\n\nSubject: x\n\nthree\n"
              "--b--\n",
              facts);
    assert_int_equal(leaves->len, 3);
    assert_leaf(leaves, 0, "1", "one");
    assert_leaf(leaves, 1, "2", "two");
    assert_leaf(leaves, 2, "3.1", "three");
    assert_int_equal(facts->unscanned->len, 0);
    assert_int_equal(facts->parts_total, 5);
    const struct part *zip = g_ptr_array_index(facts->parts, 2);
    assert_string_equal(zip->filename, "a.zip");
    assert_string_equal(zip->type, "application/zip");
    assert_int_equal(zip->size, 3);
    assert_int_equal(strlen(zip->sha256), 64);
}

static void
test_single_part(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse("Subject: x\n\nhello", facts);
    assert_int_equal(leaves->len, 1);
    assert_leaf(leaves, 0, "1", "hello");
}

static void
test_encoded_message_is_taken_apart(void **state)
{
    (void)state;
    static const char inner[] = "Subject: x\nContent-Type: application/x\n"
                                "Content-Transfer-Encoding: base64\n\naGVsbG8=\n";
    g_autofree char *base64 = g_base64_encode((const guchar *)inner, sizeof inner - 1);
    g_autofree char *mail = g_strdup_printf("Content-Type: message/rfc822\n"
                                            "Content-Transfer-Encoding: base64\n\n%s\n",
                                            base64);
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse(mail, facts);
    assert_int_equal(leaves->len, 2);
    assert_leaf(leaves, 0, "1", inner);
    assert_leaf(leaves, 1, "1.1", "hello");
    assert_int_equal(facts->unscanned->len, 0);
}

/* "aGVs" "bA==" "bw==" is hell + o to some and garbage to others. */
static void
test_padding_inside_gives_two_readings(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse("Content-Type: application/x\n"
                                        "Content-Transfer-Encoding: base64\n\n"
                                        "aGVsbA==\nbw==\n",
                                        facts);
    assert_int_equal(leaves->len, 2);
    assert_leaf(leaves, 1, "1", "hello");
    g_autoptr(facts_t) normal = facts_new();
    g_autoptr(GPtrArray) one = parse("Content-Type: application/x\n"
                                     "Content-Transfer-Encoding: base64\n\naGVsbG8=\n",
                                     normal);
    assert_int_equal(one->len, 1);
}

static void
assert_one_unscanned(const struct facts *facts, enum cause cause, const char *detail)
{
    assert_int_equal(facts->unscanned->len, 1);
    const struct unscanned *u = g_ptr_array_index(facts->unscanned, 0);
    assert_int_equal(u->cause, cause);
    assert_non_null(strstr(u->detail, detail));
}

static void
test_what_cannot_be_scanned(void **state)
{
    (void)state;
    g_autoptr(facts_t) partial = facts_new();
    g_autoptr(GPtrArray) a =
        parse("Content-Type: message/partial; id=x; number=1; total=2\n\nSubject: y\n\nz", partial);
    assert_one_unscanned(partial, CAUSE_UNSUPPORTED, "message/partial");
    g_autoptr(facts_t) encoded = facts_new();
    g_autoptr(GPtrArray) b = parse("Content-Type: multipart/mixed; boundary=b\n"
                                   "Content-Transfer-Encoding: quoted-printable\n\n"
                                   "--b\n\nx\n--b--\n",
                                   encoded);
    assert_one_unscanned(encoded, CAUSE_UNSUPPORTED, "encoded as a whole");
}

static void
test_depth_is_bounded(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GString) mail = g_string_new(NULL);
    for (int i = 0; i < 3000; i++) {
        g_string_append(mail, "Content-Type: message/rfc822\n\n");
    }
    g_autoptr(GPtrArray) leaves = parse(mail->str, facts);
    assert_one_unscanned(facts, CAUSE_LIMIT, "depth");
    assert_true(facts->parts_total <= MIME_DEPTH_MAX);
}

static void
test_leaves_are_bounded(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GString) mail = g_string_new("Content-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < 2 * MIME_LEAVES_MAX; i++) {
        g_string_append(mail, "--b\n\nx\n");
    }
    g_autoptr(GPtrArray) leaves = parse(mail->str, facts);
    assert_int_equal(leaves->len, MIME_LEAVES_MAX);
    assert_one_unscanned(facts, CAUSE_LIMIT, "number");
    assert_int_equal(facts->parts_total, 2 * MIME_LEAVES_MAX + 1);
    assert_int_equal(facts->parts->len, FACTS_PARTS_MAX);
}

static void
test_empty_encoded_message(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves =
        parse("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n", facts);
    assert_int_equal(leaves->len, 1);
    assert_int_equal(leaf(leaves, 0)->size, 0);
    assert_int_equal(facts->unscanned->len, 0);
}

/* Whatever GMime makes of it: no crash, and valid UTF-8 in the facts. */
static void
test_malformed(void **state)
{
    (void)state;
    static const char *const mails[] = {
        "Content-Type: multipart/mixed\n\nno boundary",
        "Content-Type: multipart/mixed; boundary=b\n\nno part",
        "Content-Type: multipart/mixed; boundary=b\n\n--b",
        "Content-Type: message/rfc822\n\n",
        "Content-Type: /\n\nx",
        "Content-Type: \xff\xfe/\xc3; name=\"\xff\xc3\"\n\nx",
        "Content-Type: x/y; name*=utf-8''%ff%fe\nContent-Disposition: ; filename*0*=''\n\nx",
        "Content-Transfer-Encoding: base64\n\n====",
        "Content-Transfer-Encoding: x-uuencode\n\nbegin 644\n",
        "Content-Transfer-Encoding: nonsense\n\nx",
        "a:",
        "From \n",
        "\0",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(mails); i++) {
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(mails[i], facts);
        json_auto_t *json = facts_to_json(facts);
        assert_non_null(json);
        g_autoptr(facts_t) again = facts_from_json(json);
        assert_non_null(again);
    }
}

static int
init(void **state)
{
    (void)state;
    mime_init();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks_like_mail),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_single_part),
        cmocka_unit_test(test_encoded_message_is_taken_apart),
        cmocka_unit_test(test_padding_inside_gives_two_readings),
        cmocka_unit_test(test_what_cannot_be_scanned),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_leaves_are_bounded),
        cmocka_unit_test(test_empty_encoded_message),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}

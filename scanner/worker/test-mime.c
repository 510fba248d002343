/* SPDX-License-Identifier: GPL-2.0-only */
/* Mail taken apart: what becomes a leaf, what is reported, and hostile shapes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mime.h"
#include "readings.h"

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
assert_one_unscanned(const struct facts *facts, enum cause cause, const char *detail)
{
    assert_int_equal(facts->unscanned->len, 1);
    const struct unscanned *u = g_ptr_array_index(facts->unscanned, 0);
    assert_int_equal(u->cause, cause);
    assert_non_null(strstr(u->detail, detail));
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
        bool mail = reading_is_mail((const unsigned char *)text, strlen(text));
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
    assert_int_equal(leaves->len, 4);
    assert_leaf(leaves, 0, "1", "one");
    assert_leaf(leaves, 1, "2", "two");
    assert_leaf(leaves, 2, "3", "Subject: x\n\nthree");
    assert_leaf(leaves, 3, "3.1", "three");
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
test_message_without_header(void **state)
{
    (void)state;
    static const char *const mails[] = {"\r\nhello", "\nhello"};
    for (size_t i = 0; i < G_N_ELEMENTS(mails); i++) {
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(mails[i], facts);
        assert_int_equal(leaves->len, 1);
        assert_leaf(leaves, 0, "1", "hello");
    }
    static const char *const none[] = {"", "\r", "\n", "\r\n", "hello"};
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(none[i], facts);
        assert_int_equal(leaves->len, 0);
    }
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

/* "base64;" is base64 to Thunderbird; of two headers some programs believe the first, some the
 * last. */
static void
test_odd_encoding_gives_two_readings(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "Content-Transfer-Encoding: base64; x\n",
        "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        g_autofree char *mail =
            g_strdup_printf("Content-Type: application/x\n%s\naGVsbG8=\n", headers[i]);
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(mail, facts);
        assert_leaf(leaves, leaves->len - 1, "1", "hello");
    }
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse("Content-Type: application/x\n"
                                        "Content-Transfer-Encoding: 7bit, quoted-printable\n\n"
                                        "h=65llo",
                                        facts);
    assert_leaf(leaves, leaves->len - 1, "1", "hello");
}

/* Opened with a click, but no mail to libclamav, which does not know this first header. */
static void
test_mail_attached_as_a_file(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse("Content-Type: application/octet-stream; name=a.eml\n\n"
                                        "X-Foo: bar\nContent-Type: application/x\n"
                                        "Content-Transfer-Encoding: base64\n\naGVsbG8=\n",
                                        facts);
    assert_int_equal(leaves->len, 2);
    assert_leaf(leaves, 1, "1.1", "hello");
    g_autoptr(facts_t) none = facts_new();
    g_autoptr(GPtrArray) text = parse("Content-Type: text/plain\n\nNote: no mail.\n\n"
                                      "Content-Type: is far below\n",
                                      none);
    assert_int_equal(text->len, 1);
}

/* Attached to each other as they are, each level holds all below it once more. */
static void
test_leaf_bytes_are_bounded(void **state)
{
    (void)state;
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GString) mail = g_string_new(NULL);
    for (int i = 0; i < 40; i++) {
        g_string_append(mail, "Content-Type: application/x\n\n");
    }
    size_t len = mail->len + (1U << 20);
    g_string_append(mail, "x");
    while (mail->len < len) {
        g_string_append_len(mail, mail->str + mail->len - 1, 1);
    }
    g_autoptr(GPtrArray) leaves = parse(mail->str, facts);
    assert_true(leaves->len < 8);
    assert_one_unscanned(facts, CAUSE_LIMIT, "size of MIME parts");
}

static void
test_files_in_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "begin 644 a b.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n",
        "begin 0100644 a\n%:&5L;&\\\n",               /* a long mode, no end */
        "begin 644 x\nbegin 644 a\n%:&5L;&\\\nend\n", /* a false beginning */
        "begin-base64 644 a\naGVs\nbG8=\n====\n",
        "=ybegin line=128 size=5 name=a\r\n\x92\x8f\x96\x96\x99\r\n=yend size=5\r\n",
        "=ybegin part=1 line=9 size=5 name=a\n=ypart begin=1 end=5\n\x92=\xcf\x96\x96\x99\n=yend\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *mail = g_strconcat("X-Foo: bar\n\nHi,\n\n", texts[i], NULL);
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(mail, facts);
        assert_int_equal(leaves->len, 2);
        assert_leaf(leaves, 1, "/1", "hello");
        /* Headers of its own are not needed: what stands before a body is the MTA's doing. */
        g_autoptr(GPtrArray) bare = parse(texts[i], facts);
        assert_leaf(bare, 0, "/1", "hello");
    }
}

static void
test_files_in_encoded_text(void **state)
{
    (void)state;
    static const char text[] = "Hi\nbegin 644 a\n%:&5L;&\\\n`\nend\n";
    g_autofree char *base64 = g_base64_encode((const guchar *)text, sizeof text - 1);
    g_autofree char *mail = g_strdup_printf("Content-Transfer-Encoding: base64\n\n%s\n", base64);
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse(mail, facts);
    assert_int_equal(leaves->len, 2);
    assert_leaf(leaves, 1, "1/1", "hello");
}

static void
test_binhex_in_text(void **state)
{
    (void)state;
    static const char binhex[] = "(This file must be converted with BinHex 4.0)\n:abc\ndef:\n";
    g_autofree char *mail = g_strconcat("X-Foo: bar\n\nHi\n", binhex, "more text\n", NULL);
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse(mail, facts);
    assert_int_equal(leaves->len, 2);
    assert_leaf(leaves, 1, "/1", binhex);
}

static void
test_text_about_files_is_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "begin to read\nand end\n",
        "begin 644\n",
        "to begin 644 a\n%:&5L;&\\\nend\n",
        "begin 644 a\nend\n",
        "=ybegins\nwith a letter\n",
        "(This file must be converted with BinHex 4.0)\nsays the file.\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(facts_t) facts = facts_new();
        g_autoptr(GPtrArray) leaves = parse(texts[i], facts);
        assert_int_equal(leaves->len, 0);
    }
}

/* SEQUENCE { signedData, [0] { SEQUENCE { 3, {}, SEQUENCE { data, [0] { OCTET STRING } }, {} } } }
 */
static void
test_signed_content_is_taken_apart(void **state)
{
    (void)state;
    static const char inner[] = "Content-Transfer-Encoding: base64\n\naGVsbG8=\n";
    enum { INNER = sizeof inner - 1 };
    static const unsigned char before[] = {
        0x30, 33 + INNER, 6,    9,          0x2a, 0x86,           0x48, 0x86, 0xf7, 0x0d, 1,
        7,    2,          0xa0, 20 + INNER, 0x30, 18 + INNER + 0, 2,    1,    3,    0x31, 0};
    g_autoptr(GByteArray) cms = g_byte_array_new();
    static const unsigned char data[] = {6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1};
    const unsigned char octets[] = {4, INNER};
    const unsigned char explicit[] = {0xa0, 2 + INNER};
    const unsigned char encap[] = {0x30, sizeof data + sizeof explicit + 2 + INNER};
    const unsigned char signers[] = {0x31, 0};
    unsigned body = 3 + 2 + 2 + encap[1] + 2;
    g_byte_array_append(cms, before, sizeof before);
    cms->data[1] = (guint8)(11 + 2 + 2 + body);
    cms->data[14] = (guint8)(2 + body);
    cms->data[16] = (guint8)body;
    g_byte_array_append(cms, encap, sizeof encap);
    g_byte_array_append(cms, data, sizeof data);
    g_byte_array_append(cms, explicit, sizeof explicit);
    g_byte_array_append(cms, octets, sizeof octets);
    g_byte_array_append(cms, (const guint8 *)inner, INNER);
    g_byte_array_append(cms, signers, sizeof signers);
    g_autofree char *base64 = g_base64_encode(cms->data, cms->len);
    g_autofree char *mail = g_strdup_printf("Content-Type: application/pkcs7-mime; name=smime.p7m\n"
                                            "Content-Transfer-Encoding: base64\n\n%s\n",
                                            base64);
    g_autoptr(facts_t) facts = facts_new();
    g_autoptr(GPtrArray) leaves = parse(mail, facts);
    assert_int_equal(leaves->len, 3);
    assert_leaf(leaves, 1, "1", inner);
    assert_leaf(leaves, 2, "1.1", "hello");
    /* Cut off anywhere it is no CMS; never a crash. */
    for (guint len = 0; len < cms->len; len++) {
        g_autofree char *cut = g_base64_encode(cms->data, len);
        g_autofree char *bad = g_strdup_printf("Content-Type: application/pkcs7-mime\n"
                                               "Content-Transfer-Encoding: base64\n\n%s\n",
                                               cut);
        g_autoptr(GPtrArray) one = parse(bad, facts);
        assert_int_equal(one->len, 1);
    }
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
        cmocka_unit_test(test_message_without_header),
        cmocka_unit_test(test_encoded_message_is_taken_apart),
        cmocka_unit_test(test_padding_inside_gives_two_readings),
        cmocka_unit_test(test_odd_encoding_gives_two_readings),
        cmocka_unit_test(test_mail_attached_as_a_file),
        cmocka_unit_test(test_leaf_bytes_are_bounded),
        cmocka_unit_test(test_files_in_text),
        cmocka_unit_test(test_files_in_encoded_text),
        cmocka_unit_test(test_binhex_in_text),
        cmocka_unit_test(test_text_about_files_is_text),
        cmocka_unit_test(test_signed_content_is_taken_apart),
        cmocka_unit_test(test_what_cannot_be_scanned),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_leaves_are_bounded),
        cmocka_unit_test(test_empty_encoded_message),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}

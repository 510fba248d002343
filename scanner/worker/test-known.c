/* SPDX-License-Identifier: GPL-2.0-only */
/* What need not be scanned: parts that others know, and what libclamav came upon by itself. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "durable.h"
#include "eicar.h"
#include "known.h"
#include "scan.h"
#include "settings.h"
#include "tmpdir.h"
#include "visits.h"
#include "warmup.h"

static struct clam *clam;
static struct orders *orders;
static char dir[] = "/tmp/postern-test-known-XXXXXX";

/* posternd, as the test plays it. */
static struct {
    unsigned asked;
    GHashTable *known; /* key -> facts */
} daemon_;

static struct facts *
on_ask(void *data, const char *key)
{
    (void)data;
    daemon_.asked++;
    json_t *facts = g_hash_table_lookup(daemon_.known, key);
    return facts != NULL ? facts_from_json(facts) : NULL;
}

/* An archive that only the order of its bytes makes one: a tar with one text of SIZE bytes. */
static GByteArray *
tar_of(const char *name, size_t size, char filler, bool with_eicar)
{
    unsigned char header[512] = {0};
    g_autofree char *content = g_strnfill(size, filler);
    unsigned sum = 0;
    if (with_eicar) {
        eicar_bytes((unsigned char *)content);
    }
    g_snprintf((char *)header, 100, "%s", name);
    memcpy(header + 100, "0000644", 8);
    g_snprintf((char *)header + 124, 12, "%011o", (unsigned)size);
    memcpy(header + 257, "ustar\00000", 8);
    header[156] = '0';
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < sizeof header; i++) {
        sum += header[i];
    }
    g_snprintf((char *)header + 148, 8, "%06o", sum);
    GByteArray *tar = g_byte_array_new();
    g_byte_array_append(tar, header, sizeof header);
    g_byte_array_append(tar, (const guint8 *)content, (guint)size);
    g_byte_array_set_size(tar, (guint)(512 * ((tar->len + 511) / 512) + 1024));
    memset(tar->data + 512 + size, 0, tar->len - 512 - size);
    return tar;
}

/* A mail with the tar attached; FRONT are its first headers. */
static char *
mail_with(const char *front, GByteArray *tar)
{
    g_autofree char *text = g_base64_encode(tar->data, tar->len);
    GString *mail = g_string_new(front);
    g_string_append(mail, "From: a@b.test\r\nMIME-Version: 1.0\r\n"
                          "Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n"
                          "Content-Type: text/plain\r\n\r\nLook at this:\r\nwell.\r\n--cut\r\n"
                          "Content-Type: application/x-tar; name=a.tar\r\n"
                          "Content-Transfer-Encoding: base64\r\n\r\n");
    for (size_t at = 0; at < strlen(text); at += 76) {
        g_string_append_len(mail, text + at, (gssize)MIN(76, strlen(text) - at));
        g_string_append(mail, "\r\n");
    }
    g_string_append(mail, "--cut--\r\n");
    return g_string_free(mail, FALSE);
}

static struct facts *
scan(const char *mail, json_t **ret_report)
{
    known_set(on_ask, NULL);
    struct facts *facts = scan_object(clam, orders, (const unsigned char *)mail, strlen(mail));
    *ret_report = known_end();
    known_set(NULL, NULL);
    return facts;
}

static enum verdict
scan_verdict(const char *mail)
{
    json_auto_t *report = NULL;
    g_autoptr(facts_t) facts = scan(mail, &report);
    return facts_verdict(facts);
}

/* From now on known: what the worker reported. */
static size_t
learn(const char *mail)
{
    json_auto_t *report = NULL;
    const char *key;
    json_t *inside;
    g_autoptr(facts_t) facts = scan(mail, &report);
    json_object_foreach(report, key, inside)
    {
        g_hash_table_insert(daemon_.known, g_strdup(key), json_incref(inside));
    }
    return json_object_size(report);
}

static int
setup(void **state)
{
    (void)state;
    daemon_.asked = 0;
    daemon_.known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)json_decref);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    g_clear_pointer(&daemon_.known, g_hash_table_unref);
    return 0;
}

#define FRONT "Received: by x\r\n"

static void
assert_same_parts(const struct facts *a, const struct facts *b)
{
    assert_int_equal(a->parts->len, b->parts->len);
    for (guint i = 0; i < a->parts->len; i++) {
        const struct part *one = g_ptr_array_index(a->parts, i);
        const struct part *other = facts_find_part(b, one->path);
        assert_non_null(other);
        assert_string_equal(one->type, other->type);
        assert_int_equal(g_strcmp0(one->true_type, other->true_type), 0);
        assert_int_equal(g_strcmp0(one->filename, other->filename), 0);
        assert_int_equal(g_strcmp0(one->sha256, other->sha256), 0);
        assert_int_equal(one->size, other->size);
    }
}

static void
test_a_known_part_is_not_opened_and_described_all_the_same(void **state)
{
    g_autoptr(GByteArray) tar = tar_of("inner.txt", 20000, 'x', false);
    g_autofree char *mail = mail_with(FRONT, tar);
    g_autofree char *other = mail_with(FRONT "Subject: another\r\n", tar);
    json_auto_t *report = NULL;
    json_auto_t *nothing = NULL;
    (void)state;
    g_autoptr(facts_t) first = scan(other, &report);
    assert_int_equal(json_object_size(report), 1);
    assert_int_equal(learn(mail), 1);
    unsigned asked = daemon_.asked;
    g_autoptr(facts_t) facts = scan(other, &nothing);
    assert_int_equal(daemon_.asked, asked + 1);
    assert_null(nothing);                                  /* it has not seen it itself */
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN); /* and not "a container nobody opened" */
    assert_non_null(facts_find_part(facts, "2/1"));
    assert_same_parts(first, facts);
}

/* That it is left out, the test sees by what it would have found. */
static void
test_only_the_very_bytes_are_known(void **state)
{
    g_autoptr(GByteArray) bad = tar_of("inner.com", 20000, 'x', true);
    g_autoptr(GByteArray) other = tar_of("inner.com", 20000, 'y', true);
    g_autofree char *mail = mail_with(FRONT, bad);
    g_autofree char *other_mail = mail_with(FRONT, other);
    (void)state;
    assert_int_equal(scan_verdict(mail), VERDICT_INFECTED);
    assert_int_equal(learn(mail), 1);
    assert_int_equal(scan_verdict(mail), VERDICT_CLEAN);
    assert_int_equal(scan_verdict(other_mail), VERDICT_INFECTED);
}

/* One CR LF among its LFs: libclamav takes the CR away and adds an LF. Of the same length. */
static void
test_a_text_and_its_reading_are_two_parts(void **state)
{
    static const char head[] = "From: a@b.test\r\nMIME-Version: 1.0\r\n"
                               "Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n"
                               "Content-Type: text/plain\r\nContent-Transfer-Encoding: ";
    g_autofree char *half = g_strnfill(5000, 'x');
    for (size_t i = 70; i < strlen(half); i += 70) {
        half[i] = '\n';
    }
    g_autofree char *text = g_strconcat(half, "\r\n", half, NULL);
    g_autofree char *digits = g_base64_encode((const guchar *)text, strlen(text));
    g_autofree char *shown = g_strconcat(head, "7bit\r\n\r\n", text, "\r\n--cut--\r\n", NULL);
    g_autofree char *attached =
        g_strconcat(head, "base64\r\nContent-Disposition: attachment; filename=a\r\n\r\n", digits,
                    "\r\n--cut--\r\n", NULL);
    (void)state;
    assert_int_equal(learn(shown), 1);
    assert_int_equal(learn(attached), 1);
    assert_int_equal(learn(attached), 0);
}

static void
test_what_is_not_asked_for(void **state)
{
    g_autoptr(GByteArray) small = tar_of("small.txt", 1000, 'x', false);
    g_autofree char *small_mail = mail_with(FRONT, small);
    g_autoptr(GByteArray) large = tar_of("large.txt", 20000, 'x', false);
    GByteArray *outer = tar_of("outer.tar", large->len, '\0', false);
    memcpy(outer->data + 512, large->data, large->len);
    g_autofree char *nested_mail = mail_with(FRONT, outer);
    (void)state;
    (void)scan_verdict(small_mail);
    assert_int_equal(daemon_.asked, 0);
    (void)scan_verdict(nested_mail); /* for what is in the archive there is no key */
    assert_int_equal(daemon_.asked, 1);
    g_byte_array_unref(outer);

    /* Nobody is asked when nobody may be. */
    g_autofree char *mail = mail_with(FRONT, large);
    g_autoptr(facts_t) facts = scan_object(clam, orders, (const unsigned char *)mail, strlen(mail));
    assert_null(known_end());
    assert_int_equal(daemon_.asked, 1);
}

/* libclamav does not know the first header: it is scanned as a mail first, then as text. */
static void
test_a_mail_in_two_ways(void **state)
{
    g_autoptr(GByteArray) tar = tar_of("inner.com", 20000, 'x', true);
    g_autofree char *mail = mail_with("X-First: yes\r\n", tar);
    (void)state;
    assert_int_equal(scan_verdict(mail), VERDICT_INFECTED);
    assert_int_equal(daemon_.asked, 1);
    assert_int_equal(learn(mail), 1);
    assert_int_equal(scan_verdict(mail), VERDICT_CLEAN); /* neither time */
}

static struct mime_leaf *
find(const char *leaf_text, bool is_body, const char *seen)
{
    static GPtrArray *leaves;
    g_autoptr(facts_t) facts = facts_new();
    bool whole = false;
    g_clear_pointer(&leaves, g_ptr_array_unref);
    if (leaf_text == NULL) {
        return NULL;
    }
    leaves = leaves_list_new();
    struct leaves all = leaves_begin(leaves, 1 << 20);
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, (const guint8 *)leaf_text, (guint)strlen(leaf_text));
    leaves_add(&all, "1", bytes, facts)->is_body = is_body;
    visits_prepare(leaves);
    const struct clam_layer layer = {
        .level = 1, .data = (const unsigned char *)seen, .size = strlen(seen)};
    struct mime_leaf *leaf = visits_find(leaves, &layer, &whole);
    assert_true(leaf == NULL || leaf->visited);
    return leaf;
}

static void
test_a_text_without_carriage_returns_is_the_same_text(void **state)
{
    static const char text[] = "one\r\ntwo\r\n";
    (void)state;
    assert_non_null(find(text, true, text));
    assert_non_null(find(text, true, "one\ntwo\n"));
    assert_non_null(find(text, true, "one\ntwo\n\n"));
    assert_null(find(text, true, "one\ntwo \n"));
    assert_null(find(text, false, "one\ntwo\n"));
    assert_non_null(find(text, false, text));
    assert_null(find("one\rtwo\r\n", true, "onetwo\n"));
    (void)find(NULL, false, NULL);
}

static int
init(void **state)
{
    (void)state;
    g_autofree char *error = NULL;
    g_autoptr(settings_t) settings = NULL;
    if (mkdtemp(dir) == NULL || chdir(dir) < 0 || tmpdir_adopt() < 0) {
        return -1;
    }
    g_autofree char *conf = g_strdup_printf("%s.conf", dir);
    g_autofree char *database = g_strdup_printf("%s.ndb", dir);
    if (durable_replace_text(conf, "workers = 1\n", 0600) == 0) {
        settings = settings_load(conf, &error);
    }
    if (settings == NULL || durable_replace_text(database, eicar_signature(), 0600) < 0) {
        return -1;
    }
    orders = orders_new(settings, NULL, false);
    bool ok = clam_new(orders, &clam, &error) == 0 && clam_load(clam, database, &error) == 0 &&
              clam_compile(clam, &error) == 0 && clam_set_tmpdir(clam, ".") == 0 &&
              warmup(clam, orders, &error) == 0;
    (void)unlink(conf);
    (void)unlink(database);
    if (!ok) {
        print_error("%s\n", error);
    }
    return ok ? 0 : -1;
}

static int
fini(void **state)
{
    (void)state;
    clam_free(clam);
    orders_free(orders);
    return chdir("/") < 0 || rmdir(dir) < 0 ? -1 : 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_known_part_is_not_opened_and_described_all_the_same),
        TEST(test_only_the_very_bytes_are_known),
        TEST(test_a_text_and_its_reading_are_two_parts),
        TEST(test_what_is_not_asked_for),
        TEST(test_a_mail_in_two_ways),
        TEST(test_a_text_without_carriage_returns_is_the_same_text),
    };
    return cmocka_run_group_tests(tests, init, fini);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* A scan in this process, with the built-in signature only and without a sandbox. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "canary.h"
#include "durable.h"
#include "eicar.h"
#include "faultguard.h"
#include "scan.h"
#include "tmpdir.h"
#include "warmup.h"

static struct clam *clam;
static struct orders *orders;
static char dir[] = "/tmp/postern-test-scan-XXXXXX";

static struct facts *
scan(const void *data, size_t len)
{
    return scan_object(clam, orders, data, len);
}

static char *
with_eicar(const char *before, size_t *ret_len)
{
    size_t head = strlen(before);
    char *text = g_malloc(head + EICAR_SIZE + 1);
    memcpy(text, before, head);
    eicar_bytes((unsigned char *)text + head);
    text[head + EICAR_SIZE] = '\n';
    *ret_len = head + EICAR_SIZE + 1;
    return text;
}

static void
assert_verdict_after(const char *before, enum verdict verdict)
{
    size_t len;
    g_autofree char *text = with_eicar(before, &len);
    g_autoptr(facts_t) facts = scan(text, len);
    assert_int_equal(facts->faults->len, 0);
    assert_true(facts->complete);
    assert_int_equal(facts_verdict(facts), verdict);
}

static void
test_eicar_at_the_start_of_an_object_only(void **state)
{
    (void)state;
    assert_verdict_after("", VERDICT_INFECTED);
    assert_verdict_after("Subject: x\n\n", VERDICT_INFECTED);
    assert_verdict_after("Subject: x\n\nLook at this:\n", VERDICT_CLEAN);
    assert_verdict_after("Look at this:\n", VERDICT_CLEAN);
}

/* For mail only (target type 4): the words "only in mail", anywhere. */
#define MAIL_SIGNATURE "Test.Mail:4:*:6f6e6c7920696e206d61696c"

static void
test_signatures_for_mail_are_used_for_every_mail(void **state)
{
    static const char *const headers[] = {"Received: by x\n", "From: a@b\n",  "To: a@b\n",
                                          "Date: today\n",    "X-Odd: yes\n", "DKIM-Signature: v\n",
                                          "Subject: x\n",     "From a@b\n"};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(headers); i++) {
        g_autofree char *mail =
            g_strconcat(headers[i], "Sender: a@b\n\nThis is found only in mail.\n", NULL);
        g_autoptr(facts_t) facts = scan(mail, strlen(mail));
        if (facts_verdict(facts) != VERDICT_INFECTED) {
            fail_msg("a mail that begins with %s is no mail", headers[i]);
        }
    }
    /* libclamav takes it apart as a mail, late, and asks for no signature for mail. */
    static const char late[] = "X-Odd: yes\nFrom: a@b\nMIME-Version: 1.0\n"
                               "Content-Type: multipart/mixed; boundary=cut\n\n--cut\n"
                               "Content-Type: text/plain\n\nThis is found only in mail.\n--cut--\n";
    g_autoptr(facts_t) found = scan(late, sizeof late - 1);
    assert_int_equal(facts_verdict(found), VERDICT_INFECTED);
    static const char text[] = "This is found only in mail.\n";
    g_autoptr(facts_t) facts = scan(text, sizeof text - 1);
    assert_int_equal(facts_verdict(facts), VERDICT_CLEAN);
}

/* "Subject: the very bytes", or "the very text" with CR LF, where an object begins. */
#define BYTES_SIGNATURES                                                   \
    "Test.Bytes.Mail:0:0:5375626a6563743a207468652076657279206279746573\n" \
    "Test.Bytes.Text:0:0:746865207665727920746578740d0a\n"

/* Signatures with a place, a size or a hash ask for the bytes that a mail program would save. */
static void
test_what_is_shown_as_a_file_is_scanned_byte_for_byte(void **state)
{
    static const struct {
        const char *headers;
        enum verdict verdict;
    } parts[] = {
        {"Content-Type: text/csv\r\n\r\nthe very text\r\nmore", VERDICT_INFECTED},
        {"Content-Type: text/html\r\nContent-Disposition: attachment\r\n\r\nthe very text\r\nmore",
         VERDICT_INFECTED},
        {"Content-Type: text/plain; name=a.txt\r\n\r\nthe very text\r\nmore", VERDICT_INFECTED},
        {"Content-Type: message/rfc822\r\n\r\nSubject: the very bytes\r\n\r\nmore",
         VERDICT_INFECTED},
        {"Content-Type: message/rfc822\r\n\r\nX: y\r\nSubject: the very bytes\r\n\r\nmore",
         VERDICT_CLEAN},
        {"Content-Type: text/plain\r\n\r\nA very text\r\nmore", VERDICT_CLEAN},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *mail =
            g_strconcat("From: a@b.test\r\nMIME-Version: 1.0\r\n"
                        "Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n",
                        parts[i].headers, "\r\n--cut--\r\n", NULL);
        g_autoptr(facts_t) facts = scan(mail, strlen(mail));
        if (facts_verdict(facts) != parts[i].verdict) {
            fail_msg("%s: %s", parts[i].headers, verdict_name(facts_verdict(facts)));
        }
    }
}

static void
test_detection_has_its_name(void **state)
{
    (void)state;
    unsigned char eicar[EICAR_SIZE];
    eicar_bytes(eicar);
    g_autoptr(facts_t) facts = scan(eicar, sizeof eicar);
    assert_int_equal(facts->detections->len, 1);
    assert_true(g_str_has_prefix(g_ptr_array_index(facts->detections, 0), EICAR_NAME));
}

static void
test_canary(void **state)
{
    (void)state;
    g_autofree char *wrong = canary_scan(clam, orders);
    assert_null(wrong);
}

/* The canary must be able to die: in a directory that nobody can write to. */
static void
test_canary_dies_without_a_temporary_directory(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(clam_set_tmpdir(clam, "/proc"), 0);
    } else {
        assert_int_equal(chmod(".", 0500), 0);
    }
    g_autofree char *wrong = canary_scan(clam, orders);
    assert_non_null(wrong);
    assert_int_equal(chmod(".", 0700), 0);
    assert_int_equal(clam_set_tmpdir(clam, "."), 0);
}

static void
test_temporary_directory_is_left_empty(void **state)
{
    (void)state;
    assert_int_equal(mkdir("left", 0700), 0);
    assert_int_equal(mkdir("left/over", 0700), 0);
    assert_int_equal(durable_replace_text("left/over/file", "x", 0600), 0);
    g_autoptr(facts_t) facts = scan("hello there", 11);
    assert_int_equal(facts->faults->len, 0);
    assert_int_equal(tmpdir_adopt(), 0);
}

/* Whatever goes wrong: files of somebody else's directory are not removed. */
static void
test_only_the_adopted_directory_is_emptied(void **state)
{
    (void)state;
    assert_int_equal(mkdir("other", 0700), 0);
    assert_int_equal(chdir("other"), 0);
    assert_int_equal(tmpdir_empty(), -EXDEV);
    g_autoptr(facts_t) facts = scan("hello there", 11);
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(tmpdir_adopt(), -ENOTEMPTY);
    assert_int_equal(rmdir("other"), 0);
    assert_int_equal(tmpdir_adopt(), 0);
}

static void
test_a_fault_is_in_the_facts(void **state)
{
    (void)state;
    size_t len;
    g_autofree char *mail = canary_mail(&len);
    assert_int_equal(clam_set_tmpdir(clam, "nowhere"), 0);
    g_autoptr(facts_t) facts = scan(mail, len);
    assert_true(facts->faults->len > 0);
    assert_int_equal(facts_verdict(facts), VERDICT_ERROR);
    assert_int_equal(clam_set_tmpdir(clam, "."), 0);
}

static void
test_no_time_is_a_limit(void **state)
{
    (void)state;
    struct orders hurried = *orders;
    hurried.scan_timeout = 0;
    g_autoptr(facts_t) facts =
        scan_object(clam, &hurried, (const unsigned char *)"hello there", 11);
    assert_int_equal(facts_verdict(facts), VERDICT_UNSCANNED);
    const struct unscanned *u = g_ptr_array_index(facts->unscanned, 0);
    assert_int_equal(u->cause, CAUSE_LIMIT);
}

static void
test_too_large_is_a_limit(void **state)
{
    (void)state;
    size_t len = (size_t)orders->scan_file_size + 1;
    g_autofree char *big = g_malloc0(len);
    g_autoptr(facts_t) facts = scan(big, len);
    assert_int_equal(facts_verdict(facts), VERDICT_UNSCANNED);
}

static void
test_orders_survive_the_socket(void **state)
{
    (void)state;
    json_auto_t *json = orders_to_json(orders);
    g_autoptr(orders_t) again = orders_from_json(json);
    assert_non_null(again);
    assert_string_equal(again->generation, "builtin");
    assert_true(again->builtin);
    assert_int_equal(again->scan_file_size, orders->scan_file_size);
    assert_int_equal(again->worker_age, orders->worker_age);
    json_object_set_new(json, "scan_size", json_integer(-1));
    assert_null(orders_from_json(json));
    json_object_del(json, "scan_size");
    assert_null(orders_from_json(json));
}

static void
test_charsets(void **state)
{
    (void)state;
    assert_true(warmup_charsets() > 200);
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
    char *conf = g_strdup_printf("%s.conf", dir);
    if (durable_replace_text(conf, "scan_file_size = 1M\n", 0600) == 0) {
        settings = settings_load(conf, &error);
    }
    (void)unlink(conf);
    g_free(conf);
    g_autofree char *database = g_strdup_printf("%s.ndb", dir);
    g_autofree char *signatures =
        g_strconcat(eicar_signature(), MAIL_SIGNATURE "\n", BYTES_SIGNATURES, NULL);
    if (settings == NULL || durable_replace_text(database, signatures, 0600) < 0) {
        return -1;
    }
    orders = orders_new(settings, NULL, false);
    int rc = clam_new(orders, &clam, &error);
    if (rc == 0) {
        rc = clam_load(clam, database, &error);
    }
    if (rc == 0) {
        rc = clam_compile(clam, &error);
    }
    (void)unlink(database);
    if (rc == 0) {
        rc = clam_set_tmpdir(clam, ".");
    }
    if (rc == 0) {
        rc = warmup(clam, orders, &error);
    }
    if (rc < 0) {
        print_error("%s\n", error);
    }
    return rc;
}

static int
fini(void **state)
{
    (void)state;
    clam_free(clam);
    orders_free(orders);
    return chdir("/") < 0 || rmdir(dir) < 0 ? -1 : 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eicar_at_the_start_of_an_object_only),
        cmocka_unit_test(test_signatures_for_mail_are_used_for_every_mail),
        cmocka_unit_test(test_what_is_shown_as_a_file_is_scanned_byte_for_byte),
        cmocka_unit_test(test_detection_has_its_name),
        cmocka_unit_test(test_canary),
        cmocka_unit_test(test_canary_dies_without_a_temporary_directory),
        cmocka_unit_test(test_temporary_directory_is_left_empty),
        cmocka_unit_test(test_only_the_adopted_directory_is_emptied),
        cmocka_unit_test(test_a_fault_is_in_the_facts),
        cmocka_unit_test(test_no_time_is_a_limit),
        cmocka_unit_test(test_too_large_is_a_limit),
        cmocka_unit_test(test_orders_survive_the_socket),
        cmocka_unit_test(test_charsets),
    };
    return cmocka_run_group_tests(tests, init, fini);
}

/* SPDX-License-Identifier: GPL-2.0-only */
/* What is cut out of a message, what stays, and what a lying worker can do: nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "actions.h"
#include "replace.h"

#define HEAD "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
#define TEXT "Content-Type: text/plain\r\n\r\nhello\r\n"
#define BAD "Content-Type: application/zip\r\nX-Fold: a\r\n\tb\r\n\r\nPK\r\nPK"
#define INNER "Subject: inner\r\n\r\nVIRUS"

static const char message[] = HEAD "--b\r\n" TEXT "\r\n--b\r\n" BAD "\r\n--b\r\n"
                                   "Content-Type: message/rfc822\r\n\r\n" INNER "\r\n--b--\r\n";

static struct spool_budget budget = {.limit = 100000};

struct bench {
    struct spool *spool;
    struct facts *facts;
    struct replace_job job;
    struct spool *new;
    const char *why;
};

static struct spool *
spool_of(const char *header, const char *text)
{
    struct spool *spool = spool_new(&budget, 100000);
    gsize head = strlen(header);
    assert_int_equal(spool_append(spool, text, head), 0);
    spool_body_begins(spool);
    assert_int_equal(spool_append(spool, text + head, strlen(text) - head), 0);
    assert_int_equal(spool_seal(spool), 0);
    return spool;
}

/* The entity whose text is ENTITY. */
static struct part *
part_add(struct bench *b, const char *path, const char *type, const char *whole, const char *entity,
         gsize header)
{
    const char *at = strstr(whole, entity);
    assert_non_null(at);
    guint64 from = (guint64)(at - whole);
    g_autofree char *path_copy = g_strdup(path);
    g_autofree char *type_copy = g_strdup(type);
    const struct part part = {.path = path_copy,
                              .type = type_copy,
                              .size = 5,
                              .from = from,
                              .body_from = from + header,
                              .to = from + strlen(entity)};
    return facts_add_part(b->facts, &part);
}

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    b->facts = facts_new();
    b->facts->complete = true;
    b->spool = spool_of(HEAD, message);
    (void)part_add(b, "1", "text/plain", message, TEXT, strlen("Content-Type: text/plain\r\n\r\n"));
    (void)part_add(b, "2", "application/zip", message, BAD,
                   strlen("Content-Type: application/zip\r\nX-Fold: a\r\n\tb\r\n\r\n"));
    (void)part_add(b, "3", "message/rfc822", message, "Content-Type: message/rfc822\r\n\r\n" INNER,
                   strlen("Content-Type: message/rfc822\r\n\r\n"));
    (void)part_add(b, "3.1", "text/plain", message, INNER, strlen("Subject: inner\r\n\r\n"));
    b->job = (struct replace_job){.original = b->spool,
                                  .facts = b->facts,
                                  .situations = 1U << ON_INFECTED,
                                  .key = "0123abcd",
                                  .budget = &budget,
                                  .size_limit = 100000};
    *data = b;
    return 0;
}

static int
teardown(void **data)
{
    struct bench *b = *data;
    spool_free(b->spool);
    spool_free(b->new);
    facts_free(b->facts);
    g_free(b);
    return budget.used == 0 ? 0 : -1;
}

static struct part *
part_of(struct bench *b, const char *path)
{
    return facts_find_part(b->facts, path);
}

/* The new message's text. */
static char *
make(struct bench *b)
{
    assert_int_equal(replace_make(&b->job, &b->new, &b->why), 0);
    gsize size = (gsize)spool_size(b->new);
    assert_int_equal(spool_body_from(b->new), strlen(HEAD));
    char *text = g_malloc0(size + 1);
    assert_int_equal(pread(spool_fd(b->new), text, size, 0), (ssize_t)size);
    return text;
}

static void
check_refused(struct bench *b, int rc, const char *why)
{
    assert_int_equal(replace_make(&b->job, &b->new, &b->why), rc);
    assert_null(b->new);
    if (why != NULL) {
        assert_string_equal(b->why, why);
    }
}

#define NOTICE_HEAD                                  \
    "Content-Type: text/plain; charset=us-ascii\r\n" \
    "Content-Transfer-Encoding: 7bit\r\n"            \
    "Content-Disposition: inline\r\n\r\n"

static void
test_one_part(void **data)
{
    struct bench *b = *data;
    facts_add_detection_in(b->facts, "Evil\r\nX: y", "2");
    part_of(b, "2")->filename = g_strdup("a\"\xe2\x80\xae\n.zip");
    g_autofree char *text = make(b);
    assert_string_equal(
        text, HEAD "--b\r\n" TEXT "\r\n--b\r\n" NOTICE_HEAD
                   "The virus scanner has taken away what was here.\r\n"
                   "\r\nFile:   a\"__.zip\r\nFound:  Evil__X: y\r\n\r\nThe original message is in "
                   "the quarantine. Your postmaster finds it as\r\n0123abcd\r\n--b\r\n"
                   "Content-Type: message/rfc822\r\n\r\n" INNER "\r\n--b--\r\n");
}

/* Another alphabet goes in base64: the next hop may take only ASCII. */
static void
test_foreign_name(void **data)
{
    struct bench *b = *data;
    facts_add_detection_in(b->facts, "Evil", "2");
    part_of(b, "2")->filename = g_strdup("\xd1\x81\xd1\x87\xd1\x91\xd1\x82.zip");
    g_autofree char *text = make(b);
    const char *begin = strstr(text, "charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n");
    assert_non_null(begin);
    assert_true(g_str_is_ascii(text));
    begin = strstr(begin, "\r\n\r\n") + 4;
    g_autofree char *encoded = g_strndup(begin, (gsize)(strstr(begin, "\r\n--b") - begin));
    gsize len;
    g_autofree guchar *plain = g_base64_decode(encoded, &len);
    g_autofree char *shown = g_strndup((const char *)plain, len);
    assert_non_null(strstr(shown, "File:   \xd1\x81\xd1\x87\xd1\x91\xd1\x82.zip\r\n"));
    for (const char *line = encoded; line != NULL; line = strchr(line + 1, '\n')) {
        assert_true(strcspn(line + 1, "\r\n") <= 76);
    }
}

/* A part in a cut part goes with it; the part of an inner message leaves the message. */
static void
test_nested(void **data)
{
    struct bench *b = *data;
    facts_add_detection_in(b->facts, "Evil", "3.1");
    g_autofree char *text = make(b);
    assert_non_null(strstr(text, "Content-Type: message/rfc822\r\n\r\n" NOTICE_HEAD));
    assert_null(strstr(text, "VIRUS"));
    g_clear_pointer(&b->new, spool_free);
    facts_add_detection_in(b->facts, "Evil", "3");
    g_autofree char *outer = make(b);
    assert_null(strstr(outer, "message/rfc822"));
    assert_non_null(strstr(outer, "\r\n--b\r\n" NOTICE_HEAD));
    assert_true(g_str_has_suffix(outer, "0123abcd\r\n--b--\r\n"));
}

static void
test_by_cause(void **data)
{
    struct bench *b = *data;
    b->job.situations = 1U << ON_ENCRYPTED;
    facts_add_unscanned(b->facts, CAUSE_ENCRYPTED, "ZIP", "2");
    g_autofree char *text = make(b);
    assert_null(strstr(text, "PK"));
    b->job.situations = 1U << ON_INFECTED;
    g_clear_pointer(&b->new, spool_free);
    check_refused(b, -EBADMSG, "no part is named");
}

static void
test_not_cut(void **data)
{
    struct bench *b = *data;
    check_refused(b, -EBADMSG, "no part is named");
    facts_add_detection_in(b->facts, "Evil", "3.1");
    part_of(b, "3")->signed_ = true;
    check_refused(b, -EBADMSG, "it is signed");
    part_of(b, "3")->signed_ = false;
    part_of(b, "3")->encrypted = true;
    check_refused(b, -EBADMSG, "it lies in something encrypted");
    part_of(b, "3")->encrypted = false;
    struct part *part = part_of(b, "3.1");
    part->from = part->body_from = part->to = 0;
    check_refused(b, -EBADMSG, "not clearly mapped");
}

static void
test_emptied(void **data)
{
    struct bench *b = *data;
    struct part *text = part_of(b, "1");
    facts_add_detection_in(b->facts, "Evil", "2");
    facts_add_detection_in(b->facts, "Evil", "3.1");
    g_autofree char *new = make(b);
    g_clear_pointer(&b->new, spool_free);
    facts_add_detection_in(b->facts, "Evil", "1");
    check_refused(b, -ENODATA, NULL);
    g_ptr_array_set_size(text->detections, 0);
    text->body_from = text->to - 2; /* "hello" counts as header, and a line end is nothing */
    check_refused(b, -ENODATA, NULL);
}

/* A single part: its place is the whole message. */
static void
test_root(void **data)
{
    struct bench *b = *data;
    static const char whole[] = "Subject: x\r\n\r\nVIRUS";
    facts_free(b->facts);
    b->facts = facts_new();
    (void)part_add(b, "1", "text/plain", whole, whole, strlen("Subject: x\r\n\r\n"));
    facts_add_detection_in(b->facts, "Evil", "1");
    b->job.facts = b->facts;
    check_refused(b, -ENODATA, NULL);
}

/* Whatever place is named: it is refused, or what it says is an entity from delimiter to
 * delimiter, and the header stays. */
static void
test_lies(void **data)
{
    struct bench *b = *data;
    struct part *part = part_of(b, "2");
    gsize size = strlen(message);
    int made = 0;
    facts_add_detection_in(b->facts, "Evil", "2");
    for (guint64 from = 1; from <= size + 1; from++) {
        for (guint64 body = from; body <= size + 1; body++) {
            for (guint64 to = body; to <= size + 1; to++) {
                *part = (struct part){.path = part->path,
                                      .type = part->type,
                                      .detections = part->detections,
                                      .limits = part->limits,
                                      .defects = part->defects,
                                      .from = from,
                                      .body_from = body,
                                      .to = to};
                if (from > 70 && (to < size - 12 || to > size) && (from * body + to) % 31 != 0) {
                    continue; /* not all of a million */
                }
                if (replace_make(&b->job, &b->new, &b->why) == 0) {
                    char begin[sizeof HEAD];
                    made++;
                    assert_true(from >= strlen(HEAD) + 5 && to <= size);
                    assert_true(message[from - 1] == '\n');
                    assert_true(to == size || strncmp(message + to, "\r\n--b", 5) == 0 ||
                                strncmp(message + to, "--b", 3) == 0);
                    assert_int_equal(pread(spool_fd(b->new), begin, strlen(HEAD), 0), strlen(HEAD));
                    assert_memory_equal(begin, HEAD, strlen(HEAD));
                    g_clear_pointer(&b->new, spool_free);
                }
            }
        }
    }
    assert_true(made > 0);
}

/* A thousand times all of the message would be read, with everybody waiting. */
static void
test_overlapping_leaves(void **data)
{
    struct bench *b = *data;
    struct part *part = part_of(b, "1");
    facts_add_detection_in(b->facts, "Evil", "2");
    part->from = 1;
    part->body_from = 2;
    part->to = strlen(message);
    check_refused(b, -EBADMSG, "not clearly mapped");
}

static void
test_no_memory(void **data)
{
    struct bench *b = *data;
    facts_add_detection_in(b->facts, "Evil", "2");
    budget.limit = budget.used + 100;
    check_refused(b, -ENOBUFS, NULL);
    budget.limit = 100000;
    b->job.size_limit = 100;
    check_refused(b, -EFBIG, NULL);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_one_part),  TEST(test_foreign_name),
        TEST(test_nested),    TEST(test_by_cause),
        TEST(test_not_cut),   TEST(test_emptied),
        TEST(test_root),      TEST(test_lies),
        TEST(test_no_memory), TEST(test_overlapping_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

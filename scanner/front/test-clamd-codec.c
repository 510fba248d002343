/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "clamd-codec.h"
#include "clamd-verdict.h"

static const struct {
    const char *bytes;
    gsize len;
    int rc;
    enum clamd_command command;
    const char *argument;
    gsize used;
} cases[] = {
#define CASE(literal, rc, command, argument, used)               \
    {                                                            \
        literal, sizeof literal - 1, rc, command, argument, used \
    }
    CASE("", 0, 0, NULL, 0),
    CASE("zPING\0rest", 1, CLAMD_PING, NULL, 6),
    CASE("nPING\r\nrest", 1, CLAMD_PING, NULL, 7),
    CASE("zPING\r\n\0", 1, CLAMD_UNKNOWN, NULL, 8),
    CASE("zPING", 0, 0, NULL, 0),
    CASE("nPING\0", 0, 0, NULL, 0),
    CASE("nPI\0NG\n", 1, CLAMD_UNKNOWN, NULL, 7),
    CASE("zping\0", 1, CLAMD_UNKNOWN, NULL, 6),
    CASE("zPING x\0", 1, CLAMD_UNKNOWN, NULL, 8),
    CASE("zVERSION\0", 1, CLAMD_VERSION, NULL, 9),
    CASE("zVERSIONCOMMANDS\0", 1, CLAMD_COMMANDS, NULL, 17),
    CASE("zSCAN /a b\0", 1, CLAMD_SCAN, "/a b", 11),
    CASE("nSCAN /a\r\n", 1, CLAMD_SCAN, "/a", 10),
    CASE("zSCAN\0", 1, CLAMD_UNKNOWN, NULL, 6),
    CASE("zSCAN \0", 1, CLAMD_UNKNOWN, NULL, 7),
    CASE("zFILDES\0", 0, 0, NULL, 0),
    CASE("zFILDES\0\0z", 1, CLAMD_FILDES, NULL, 9),
    CASE("FILDES", 0, 0, NULL, 0),
    CASE("FILDES\n\0", 1, CLAMD_FILDES, NULL, 8),
    CASE("PING", 1, CLAMD_PING, NULL, 4),
    CASE("PING\r\nmore", 1, CLAMD_PING, NULL, 6),
    CASE("PI", 0, 0, NULL, 0),
    CASE("SCAN ", 0, 0, NULL, 0),
    CASE("SCAN /a", 1, CLAMD_SCAN, "/a", 7),
    CASE("VERSION", 1, CLAMD_VERSION, NULL, 7),
    CASE("PINGX", 1, CLAMD_UNKNOWN, NULL, 5),
    CASE("PI\n", 1, CLAMD_UNKNOWN, NULL, 3),
    CASE("INSTREAM\n", 1, CLAMD_UNKNOWN, NULL, 9),
    CASE("STATS\n", 1, CLAMD_UNKNOWN, NULL, 6),
    CASE("QUIT\n", 1, CLAMD_SHUTDOWN, NULL, 5),
#undef CASE
};

static void
test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct clamd_request request = {0};
        gsize used = 0;
        /* A copy of just this size: the sanitizers see a byte too many. */
        g_autofree char *bytes = cases[i].len > 0 ? g_memdup2(cases[i].bytes, cases[i].len) : NULL;
        int rc = clamd_request_parse(bytes, cases[i].len, &request, &used);
        if (rc != cases[i].rc || used != cases[i].used ||
            (rc == 1 && request.command != cases[i].command)) {
            fail_msg("case %zu (%s): rc %d, used %zu, command %d", i, cases[i].bytes, rc, used,
                     (int)request.command);
        }
        if (rc == 1 && cases[i].argument != NULL) {
            assert_int_equal(request.argument_len, strlen(cases[i].argument));
            assert_memory_equal(request.argument, cases[i].argument, request.argument_len);
        }
    }
}

static void
test_too_long(void **state)
{
    struct clamd_request request;
    gsize used = 0;
    (void)state;
    for (const char *first = "znS"; *first != '\0'; first++) {
        g_autofree char *bytes = g_strnfill(CLAMD_COMMAND_MAX, 'S');
        bytes[0] = *first;
        assert_int_equal(clamd_request_parse(bytes, CLAMD_COMMAND_MAX, &request, &used), -EMSGSIZE);
    }
}

static void
test_every_name_parses(void **state)
{
    g_autofree char *list = clamd_command_list();
    g_auto(GStrv) names = g_strsplit(list, " ", 0);
    (void)state;
    assert_int_equal(g_strv_length(names), 15);
    for (char **name = names; *name != NULL; name++) {
        struct clamd_request request;
        gsize used = 0;
        g_autofree char *plain = g_strdup_printf("n%s\n.", *name);
        g_autofree char *with = g_strdup_printf("n%s /x\n.", *name);
        assert_int_equal(clamd_request_parse(plain, strlen(plain), &request, &used), 1);
        if (request.command == CLAMD_UNKNOWN) {
            assert_int_equal(clamd_request_parse(with, strlen(with), &request, &used), 1);
        }
        assert_int_not_equal(request.command, CLAMD_UNKNOWN);
    }
}

/* In pieces of every size the content is the same. */
static void
test_chunks(void **state)
{
    static const char input[] = "\0\0\0\3abc\0\0\0\1d\0\0\0\0rest";
    const gsize len = sizeof input - 1;
    (void)state;
    for (gsize size = 1; size <= len; size++) {
        struct clamd_chunks chunks = {.room = 4};
        g_autoptr(GString) content = g_string_new(NULL);
        enum clamd_piece piece = CLAMD_PIECE_MORE;
        gsize at = 0;
        gsize have = 0;
        while (piece != CLAMD_PIECE_END) {
            const char *data;
            gsize data_len;
            have = MIN(len, piece == CLAMD_PIECE_MORE ? have + size : have);
            piece = clamd_chunks_next(&chunks, input + at, have - at, &data, &data_len, &at);
            assert_int_not_equal(piece, CLAMD_PIECE_TOO_LONG);
            if (piece == CLAMD_PIECE_DATA) {
                g_string_append_len(content, data, (gssize)data_len);
            }
        }
        assert_string_equal(content->str, "abcd");
        assert_int_equal(at, 16);
    }
}

static void
test_chunks_that_lie(void **state)
{
    static const char *const inputs[] = {"\0\0\0\5", "\xff\xff\xff\xff", "\x80\0\0\0"};
    const char *data;
    gsize data_len;
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(inputs); i++) {
        struct clamd_chunks chunks = {.room = 4};
        gsize used = 0;
        assert_int_equal(clamd_chunks_next(&chunks, inputs[i], 4, &data, &data_len, &used),
                         CLAMD_PIECE_TOO_LONG);
    }
}

static void
check_answer(guint32 id, char terminator, const char *path, const char *expected, gsize len)
{
    struct clamd_tag tag = {.id = id, .terminator = terminator};
    g_autoptr(GByteArray) out = g_byte_array_new();
    clamd_answer(out, &tag, path, "%s FOUND", "V");
    assert_int_equal(out->len, len);
    assert_memory_equal(out->data, expected, len);
}

static void
test_answers(void **state)
{
    (void)state;
    check_answer(0, '\n', NULL, "V FOUND\n", 8);
    check_answer(12, '\0', "stream", "12: stream: V FOUND", 20);
    check_answer(0, '\0', "/a\nb", "/a\nb: V FOUND", 14);
    check_answer(0, '\n', "/a\nb", "/a\\x0ab: V FOUND\n", 17);
}

static void
check_verdict(const struct facts *facts, const char *names)
{
    struct scan_outcome outcome = {.facts = facts};
    struct clamd_verdict verdict;
    g_autoptr(GString) list = g_string_new(NULL);
    clamd_verdict_of(&outcome, &verdict);
    for (guint i = 0; verdict.names != NULL && i < verdict.names->len; i++) {
        g_string_append_printf(list, "%s ", (char *)g_ptr_array_index(verdict.names, i));
    }
    assert_string_equal(list->str, names);
    clamd_verdict_clear(&verdict);
}

static void
test_verdicts(void **state)
{
    g_autoptr(facts_t) facts = facts_new();
    (void)state;
    facts->complete = true;
    check_verdict(facts, "");
    facts_add_unscanned(facts, CAUSE_END_TO_END, "S/MIME", "1");
    check_verdict(facts, "Heuristics.Encrypted.Mail ");
    facts_add_unscanned(facts, CAUSE_UNSUPPORTED, "RAR archive", "2");
    facts_add_unscanned(facts, CAUSE_LIMIT, "Heuristics.Limits.Exceeded.MaxRecursion", "3");
    check_verdict(facts, "Heuristics.Limits.Exceeded.Unsupported "
                         "Heuristics.Limits.Exceeded.MaxRecursion Heuristics.Encrypted.Mail ");
    facts_add_detection(facts, "Odd name: x\nFOUND");
    check_verdict(facts, "Odd_name__x_FOUND Heuristics.Limits.Exceeded.Unsupported "
                         "Heuristics.Limits.Exceeded.MaxRecursion Heuristics.Encrypted.Mail ");
}

/* Whatever went wrong is an error, and never OK. */
static void
test_errors(void **state)
{
    g_autoptr(facts_t) incomplete = facts_new();
    g_autoptr(facts_t) faulty = facts_new();
    faulty->complete = true;
    facts_add_fault(faulty, "mkdir: No space\nleft");
    const struct {
        struct scan_outcome outcome;
        const char *text;
    } errors[] = {
        {{.facts = NULL, .error = "no worker"}, "no worker"},
        {{.facts = NULL, .error = NULL}, "no result"},
        {{.facts = incomplete}, "the scan was not completed"},
        {{.facts = faulty}, "mkdir: No space_left"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        struct clamd_verdict verdict;
        clamd_verdict_of(&errors[i].outcome, &verdict);
        assert_int_equal(verdict.verdict, VERDICT_ERROR);
        assert_null(verdict.names);
        assert_string_equal(verdict.error, errors[i].text);
        clamd_verdict_clear(&verdict);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),          cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_every_name_parses), cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_that_lie),   cmocka_unit_test(test_answers),
        cmocka_unit_test(test_verdicts),          cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

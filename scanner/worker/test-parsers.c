/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our own parsers, fed with pieces of what they parse in any order; short, always the same, and
 * meant for the sanitizer build. Each input stands at the end of an allocation of its exact size.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "base64.h"
#include "bounds.h"
#include "container.h"
#include "hidden.h"
#include "inline.h"
#include "members.h"
#include "pdf.h"
#include "smime.h"
#include "streams.h"

#define ROUNDS 20000
#define SEED 20261121
#define PIECES_MAX 12
#define LIMIT (1U << 20)

/* Text is cut at the NUL; numbers and noise come between. */
static const char *const pieces[] = {
    "PK\3\4",
    "PK\1\2",
    "PK\5\6",
    "Rar!\032\007",
    "Rar!\032\007\001",
    "7z\274\257\047\034",
    "\037\213\010",
    "BZh9",
    "1AY&SY",
    "\3757zXZ",
    "YZ",
    "070701",
    "070702",
    "070707",
    "\xc7\x71",
    "TRAILER!!!",
    "ustar",
    "-lh5-",
    "-lhd-",
    "MZ",
    "\x60\xea",
    "\x5d",
    "\x1a\x08",
    "!<arch>\n",
    "x\x9c",
    "%PDF-1.4\n",
    "/Encrypt",
    "/EmbeddedFile",
    " obj",
    "stream\n",
    "<ab>",
    "begin 644 a\n",
    "#0V%T\n",
    "`\nend\n",
    "begin-base64 644 a\n",
    "====\n",
    "=ybegin a\n",
    "=yend\n",
    "=ypart \n",
    "YWJj",
    "(This file must be converted with BinHex 4.0)\n",
    ":",
    "\n",
    "\r\n",
    "From: a@b\n",
    "To: a:b,",
    "Resent-To : ",
    "Content-Type: message/rfc822\n",
    "--b\n",
    "data:",
    "=",
    "\"",
    "\x30\x80\x06\x09",
    "MIAGCSqG",
};

static GByteArray *
jumble(GRand *rand)
{
    GByteArray *bytes = g_byte_array_new();
    for (int n = g_rand_int_range(rand, 0, PIECES_MAX); n > 0; n--) {
        const char *piece = pieces[g_rand_int_range(rand, 0, G_N_ELEMENTS(pieces))];
        guint32 number = g_rand_int(rand) >> g_rand_int_range(rand, 0, 32);
        guint zeros = g_rand_boolean(rand) ? 0 : (guint)g_rand_int_range(rand, 0, 600);
        g_byte_array_append(bytes, (const guint8 *)piece, (guint)strlen(piece));
        g_byte_array_append(bytes, (const guint8 *)&number, (guint)g_rand_int_range(rand, 0, 5));
        g_byte_array_set_size(bytes, bytes->len + zeros);
        memset(bytes->data + bytes->len - zeros, 0, zeros);
    }
    return bytes;
}

static void
on_found(void *data, GByteArray *content)
{
    *(size_t *)data += content->len;
    g_byte_array_unref(content);
}

static void
parse(const unsigned char *data, size_t len)
{
    size_t found = 0;
    g_autoptr(GByteArray) decoded = g_byte_array_new();
    g_autoptr(GByteArray) inflated = streams_inflate(data, len, LIMIT);
    GByteArray *content = smime_signed_content(data, len);
    inline_find(data, len, on_found, &found);
    base64_decode(data, len, decoded);
    assert_true(decoded->len <= len);
    assert_true(container_survey_zip(data, len).bytes < UINT64_MAX);
    assert_true(members_of_tar(data, len).bytes <= UINT64_MAX / 2);
    assert_true(members_of_cpio(data, len).bytes <= (uint64_t)len * len);
    (void)members_of_lha(data, len);
    (void)container_detect(data, len, NULL);
    (void)hidden_find(data, len);
    (void)streams_gzip(data, len, LIMIT);
    (void)streams_xz(data, len);
    (void)streams_bzip2(data, len);
    (void)base64_resumes(data, len);
    (void)bounds_exceeded(data, len);
    (void)bounds_exceeded_by_html(data, len);
    (void)pdf_hides_files(data, len);
    (void)smime_kind(data, len);
    if (content != NULL) {
        g_byte_array_unref(content);
    }
}

static void
test_parsers_stay_in_bounds(void **state)
{
    (void)state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autoptr(GByteArray) bytes = jumble(rand);
        g_autofree unsigned char *exact = g_memdup2(bytes->data, bytes->len);
        parse(exact, bytes->len);
    }
}

static void
repeat(GByteArray *bytes, const char *text, unsigned n)
{
    while (n-- > 0) {
        g_byte_array_append(bytes, (const guint8 *)text, (guint)strlen(text));
    }
}

static const char *
exceeded(const char *before, const char *text, unsigned n)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    repeat(bytes, before, 1);
    repeat(bytes, text, n);
    return bounds_exceeded(bytes->data, bytes->len);
}

/* Each bound holds at its number and not before, and only where parsers meet it. */
static void
test_bounds(void **state)
{
    (void)state;
    const struct {
        const char *before;
        const char *text;
        unsigned n;
        const char *what;
    } cases[] = {
        {"", "X: y\n", BOUNDS_HEADER_LINES, "number of header lines"},
        {"A: b\n\n--b\n", "X: y\n", BOUNDS_HEADER_LINES - 1, "number of header lines"},
        {"Content-Type: message/rfc822\n\n", "X: y\n", BOUNDS_HEADER_LINES - 1,
         "number of header lines"},
        {"To: ", "a:", BOUNDS_GROUPS - 1, "number of groups of addresses"},
        {"resent-cc: x\n ", "a:", BOUNDS_GROUPS - 1, "number of groups of addresses"},
        {"A: b\n\n", "begin 644 a\n", BOUNDS_BLOCKS, "number of files in the text"},
        {"A: b\n\n", "--b\n\n", BOUNDS_BOUNDARIES, "number of MIME parts"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_null(exceeded(cases[i].before, cases[i].text, cases[i].n));
        assert_string_equal(exceeded(cases[i].before, cases[i].text, cases[i].n + 2),
                            cases[i].what);
    }
    assert_null(exceeded("A: b\n\n", "Key: value\n", 3 * BOUNDS_HEADER_LINES));
    assert_null(exceeded("A: b\n\n", "-- comment\n\n", 3 * BOUNDS_BOUNDARIES));
    assert_null(exceeded("Subject: ", "a:", 3 * BOUNDS_GROUPS));
    assert_null(bounds_exceeded(NULL, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parsers_stay_in_bounds),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

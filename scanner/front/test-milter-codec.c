/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "milter-codec.h"

/* In memory of exactly LEN bytes, so that a sanitizer sees one byte too many. */
static int
parse_exactly(const void *bytes, gsize len, struct milter_packet *ret, gsize *ret_used, void **keep)
{
    *keep = malloc(len == 0 ? 1 : len);
    if (len > 0) {
        memcpy(*keep, bytes, len);
    }
    return milter_packet_parse(*keep, len, ret, ret_used);
}

static struct milter_packet
packet_of(const char *data, gsize len)
{
    return (struct milter_packet){.command = 'X', .data = data, .len = len};
}

static void
test_packet(void **state)
{
    static const char bytes[] = "\0\0\0\5Habc\0\0\0\0\1Q";
    struct milter_packet packet;
    gsize used = 0;
    void *keep;
    (void)state;
    for (gsize len = 0; len < 9; len++) {
        assert_int_equal(parse_exactly(bytes, len, &packet, &used, &keep), 0);
        free(keep);
    }
    assert_int_equal(milter_packet_parse(bytes, sizeof bytes - 1, &packet, &used), 1);
    assert_int_equal(used, 9);
    assert_int_equal(packet.command, 'H');
    assert_int_equal(packet.len, 4);
    assert_memory_equal(packet.data, "abc", 4);
    assert_int_equal(milter_packet_parse(bytes + 9, 5, &packet, &used), 1);
    assert_int_equal(used, 5);
    assert_int_equal(packet.len, 0);
}

static void
test_packet_lies(void **state)
{
    struct milter_packet packet;
    gsize used;
    (void)state;
    assert_int_equal(milter_packet_parse("\0\0\0\0", 4, &packet, &used), -EBADMSG);
    assert_int_equal(milter_packet_parse("\377\377\377\377", 4, &packet, &used), -EMSGSIZE);
    assert_int_equal(milter_packet_parse("\0\20\0\2", 4, &packet, &used), -EMSGSIZE);
    assert_int_equal(milter_packet_parse("\0\20\0\1", 4, &packet, &used), 0);
    assert_int_equal(milter_packet_parse("GET / HTTP/1.0", 14, &packet, &used), -EMSGSIZE);
}

static void
test_negotiate(void **state)
{
    static const struct milter_options sendmail = {6, 0x1ff, 0x1fffff};
    static const struct milter_options old = {2, 0x3f, 0x7f};
    static const struct milter_options later = {7, 0xffffffff, 0xffffffff};
    static const struct milter_options ancient = {1, 0xf, 0x3f};
    static const struct milter_options tied = {6, SMFIF_ADDHDRS, 0x1fffff};
    static const struct milter_options bodyless = {6, SMFIF_ADDHDRS | SMFIF_CHGHDRS, 0};
    static const struct milter_options stepless = {6, 0x1ff, 0};
    struct milter_options mine;
    (void)state;
    assert_int_equal(milter_negotiate(&sendmail, &mine), 0);
    assert_int_equal(mine.version, 6);
    assert_int_equal(mine.actions,
                     SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_SETSYMLIST);
    assert_int_equal(mine.protocol & SMFIP_HDR_LEADSPC, SMFIP_HDR_LEADSPC);
    assert_int_equal(mine.protocol & SMFIP_NR_BODY, SMFIP_NR_BODY);
    /* The sender is told at MAIL, and nothing of the message is left out. */
    assert_int_equal(mine.protocol & (SMFIP_NR_MAIL | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NOHDRS |
                                      SMFIP_NOEOH | SMFIP_NOBODY),
                     0);
    assert_int_equal(milter_negotiate(&old, &mine), 0);
    assert_int_equal(mine.version, 2);
    assert_int_equal(mine.actions, SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY);
    assert_int_equal(mine.protocol, 0);
    assert_int_equal(milter_negotiate(&later, &mine), 0);
    assert_int_equal(mine.version, 6);
    assert_int_equal(milter_negotiate(&ancient, &mine), -EPROTO);
    assert_int_equal(milter_negotiate(&tied, &mine), -EOPNOTSUPP);
    assert_int_equal(milter_negotiate(&bodyless, &mine), -EOPNOTSUPP);
    assert_int_equal(milter_negotiate(&stepless, &mine), 0);
    assert_int_equal(mine.protocol, 0);
}

static void
test_options(void **state)
{
    struct milter_packet packet;
    struct milter_options options = {6, SMFIF_ADDHDRS, 5};
    struct milter_options got;
    gsize used;
    (void)state;
    g_autoptr(GByteArray) out = g_byte_array_new();
    milter_encode_options(out, &options);
    assert_int_equal(milter_packet_parse(out->data, out->len, &packet, &used), 1);
    assert_int_equal(used, out->len);
    assert_int_equal(packet.len, MILTER_OPTLEN); /* no list of macros that was not agreed */
    assert_int_equal(milter_options_decode(&packet, &got), 0);
    assert_memory_equal(&got, &options, sizeof got);
    packet.len--;
    assert_int_equal(milter_options_decode(&packet, &got), -EBADMSG);

    g_byte_array_set_size(out, 0);
    options.actions |= SMFIF_SETSYMLIST;
    milter_encode_options(out, &options);
    assert_int_equal(milter_packet_parse(out->data, out->len, &packet, &used), 1);
    assert_memory_equal(packet.data + MILTER_OPTLEN, "\0\0\0\2i {auth_authen}\0\0\0\0\5i\0",
                        packet.len - MILTER_OPTLEN);
}

static void
test_connect(void **state)
{
    static const char inet[] = "mail.example.org\0"
                               "4\0\31"
                               "192.0.2.1";
    static const char local[] = "localhost\0L\0\0/run/x";
    static const char unknown[] = "localhost\0U";
    struct milter_connect c;
    struct milter_packet packet = packet_of(inet, sizeof inet);
    (void)state;
    assert_int_equal(milter_connect_decode(&packet, &c), 0);
    assert_string_equal(c.name, "mail.example.org");
    assert_int_equal(c.family, '4');
    assert_string_equal(c.address, "192.0.2.1");
    for (gsize len = 0; len < sizeof inet; len++) {
        packet.len = len;
        assert_int_equal(milter_connect_decode(&packet, &c), -EBADMSG);
    }
    packet = packet_of(local, sizeof local);
    assert_int_equal(milter_connect_decode(&packet, &c), 0);
    assert_string_equal(c.address, "/run/x");
    packet = packet_of(unknown, sizeof unknown - 1);
    assert_int_equal(milter_connect_decode(&packet, &c), 0);
    assert_null(c.address);
}

static void
test_header(void **state)
{
    static const char bytes[] = "Subject\0 a\n\tb\0c";
    struct milter_header header;
    struct milter_packet packet = packet_of(bytes, sizeof bytes);
    (void)state;
    assert_int_equal(milter_header_decode(&packet, &header), 0);
    assert_string_equal(header.name, "Subject");
    assert_int_equal(header.value_len, 7);
    assert_memory_equal(header.value, " a\n\tb\0c", 7); /* a NUL hides nothing */
    packet.len--;
    assert_int_equal(milter_header_decode(&packet, &header), -EBADMSG);
    for (gsize len = 0; len <= strlen("Subject") + 1; len++) {
        packet.len = len;
        assert_int_equal(milter_header_decode(&packet, &header), -EBADMSG);
    }
    packet = packet_of("\0x", 3);
    assert_int_equal(milter_header_decode(&packet, &header), -EBADMSG);
    packet = packet_of("Subject\0", 9);
    assert_int_equal(milter_header_decode(&packet, &header), 0);
    assert_int_equal(header.value_len, 0);
}

static void
test_macros(void **state)
{
    static const char bytes[] = "Mi\0ABC\0{auth_authen}\0jo";
    struct milter_packet packet = packet_of(bytes, sizeof bytes);
    struct milter_texts texts;
    char name[64];
    const char *value;
    (void)state;
    assert_int_equal(milter_macros_of(&packet, &texts), 0);
    assert_int_equal(milter_macros_next(&texts, name, &value), 1);
    assert_string_equal(name, "i");
    assert_string_equal(value, "ABC");
    assert_int_equal(milter_macros_next(&texts, name, &value), 1);
    assert_string_equal(name, "auth_authen");
    assert_string_equal(value, "jo");
    assert_int_equal(milter_macros_next(&texts, name, &value), 0);

    packet = packet_of("Ei", 3); /* a name without a value */
    assert_int_equal(milter_macros_of(&packet, &texts), 0);
    assert_int_equal(milter_macros_next(&texts, name, &value), -EBADMSG);
    packet = packet_of("", 0);
    assert_int_equal(milter_macros_of(&packet, &texts), -EBADMSG);

    char longer[300];
    memset(longer, 'i', sizeof longer);
    longer[0] = 'E';
    longer[sizeof longer - 2] = '\0';
    longer[sizeof longer - 1] = '\0';
    packet = packet_of(longer, sizeof longer);
    assert_int_equal(milter_macros_of(&packet, &texts), 0);
    assert_int_equal(milter_macros_next(&texts, name, &value), 1);
    assert_int_equal(strlen(name), 63);
}

static void
test_replies(void **state)
{
    static const char expected[] = "\0\0\0\1a"
                                   "\0\0\0\27y550 5.7.1 100%% virus\0"
                                   "\0\0\0\22hX-Postern\0 clean\0"
                                   "\0\0\0\20m\0\0\0\2X-Postern\0\0";
    (void)state;
    g_autoptr(GByteArray) out = g_byte_array_new();
    milter_encode(out, SMFIR_ACCEPT, NULL, 0);
    milter_encode_replycode(out, "550 5.7.1 100% virus");
    milter_encode_add_header(out, "X-Postern", " clean");
    milter_encode_change_header(out, 2, "X-Postern", "");
    assert_int_equal(out->len, sizeof expected - 1);
    assert_memory_equal(out->data, expected, sizeof expected - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packet),    cmocka_unit_test(test_packet_lies),
        cmocka_unit_test(test_negotiate), cmocka_unit_test(test_options),
        cmocka_unit_test(test_connect),   cmocka_unit_test(test_header),
        cmocka_unit_test(test_macros),    cmocka_unit_test(test_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

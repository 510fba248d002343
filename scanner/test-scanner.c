/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "networks.h"
#include "settings.h"

static struct settings *
load_text(const char *text, char **error_r)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("postern-XXXXXX.conf", &path, NULL);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct settings *settings = settings_load(path, error_r);
    assert_int_equal(g_unlink(path), 0);
    return settings;
}

static void
check_refused(const char *text, const char *expected)
{
    g_autofree char *error = NULL;
    assert_null(load_text(text, &error));
    assert_non_null(error);
    if (strstr(error, expected) == NULL) {
        fail_msg("'%s' does not say '%s'", error, expected);
    }
}

static void
test_settings(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    g_autoptr(settings_t) s = load_text("# comment\nworkers = 3\nmessage_size = \"2M\"\n"
                                        "milter_listen = {\"inet:127.0.0.1:1\", \"unix:/x\"}\n",
                                        &error);
    assert_null(error);
    assert_non_null(s);
    assert_int_equal(s->workers, 3);
    assert_int_equal(s->message_size, 2097152);
    assert_string_equal(s->milter_listen[1], "unix:/x");
    assert_string_equal(s->state_storage, "exclusive");
    assert_int_equal(s->scan_timeout, 60);
}

static void
test_settings_refused(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    check_refused("\n\nworker = 3\n", ".conf:3: no such option 'worker'");
    check_refused("workers = 3000\n", ".conf:1: workers = 3000: not a number between 0 and 254");
    check_refused("message_size = \"2X\"\n", "not a size");
    check_refused("state_dir = \"\"\n", "state_dir is empty");
    check_refused("workers = \n", ":2:");
    check_refused("state_storage = \"both\"\n", "must be exclusive or shared");
    check_refused("message_size = \"1G\"\n", "spool_memory");
    check_refused("milter_listen = {\"tcp:25\"}\n", "must be unix:/PATH");
    assert_null(settings_load("/nonexistent/postern.conf", &error));
    assert_non_null(strstr(error, "/nonexistent/postern.conf: cannot be read"));
}

static void
test_networks(void **state)
{
    static char list[][24] = {"192.0.2.0/25", "2001:db8::/33", "loopback", "198.51.100.7"};
    char *const networks[] = {list[0], list[1], list[2], list[3], NULL};
    static char none[] = "none";
    char *const empty[] = {none, NULL};
    static const char *const in[] = {
        "192.0.2.127", "::ffff:192.0.2.1", "2001:db8:7fff::1", "127.8.9.10",
        "::1",         "IPv6:::1",         "ipv6:2001:db8::",  "198.51.100.7"};
    static const char *const out[] = {
        "192.0.2.128",   "2001:db8:8000::1", "128.0.0.1", "::2", "unix", "localhost", "",
        "198.51.100.70", "::192.0.2.1"};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(in); i++) {
        assert_true(networks_have(networks, in[i]));
        assert_false(networks_have(empty, in[i]));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(out); i++) {
        assert_false(networks_have(networks, out[i]));
    }
    assert_false(networks_have(networks, NULL));
    check_refused("submission_clients = {\"192.0.2.1/24\"}\n", "has bits set after");
    check_refused("submission_clients = {\"192.0.2.0/33\"}\n", "must be 0 to 32");
    check_refused("submission_clients = {\"localhost\"}\n", "must be ADDRESS or");
    check_refused("submission_listen = {\"25\"}\n", "submission_listen = 25: must be unix:/PATH");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_settings_refused),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

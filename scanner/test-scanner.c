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
#include "rule.h"
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
                                        "update_urls = {\"https://u:p@a.test/x.ndb\"}\n"
                                        "update_mirrors = {\"m.test\", \"http://m.test:81/x\"}\n"
                                        "milter_listen = {\"inet:127.0.0.1:1\", \"unix:/x\"}\n",
                                        &error);
    assert_null(error);
    assert_non_null(s);
    assert_int_equal(s->workers, 3);
    assert_int_equal(s->message_size, 2097152);
    assert_string_equal(s->milter_listen[1], "unix:/x");
    assert_int_equal(g_strv_length(s->update_databases), 3);
    assert_string_equal(s->update_databases[1], "daily");
    assert_string_equal(s->state_storage, "exclusive");
    assert_int_equal(s->scan_timeout, 60);
}

static void
test_settings_refused(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    check_refused("\n\nworker = 3\n",
                  ".conf:3: there is no setting 'worker'; did you mean workers?");
    check_refused("workers = 3000\n", ".conf:1: workers = 3000: not a number between 0 and 254");
    check_refused("message_size = \"2X\"\n", "not a size");
    check_refused("state_dir = \"\"\n", "state_dir is empty");
    check_refused("workers = \n", ":2:");
    check_refused("state_storage = \"both\"\n", "must be exclusive or shared");
    check_refused("message_size = \"1G\"\n", "spool_memory");
    check_refused("clamd_listen = {\"3310\"}\n", "clamd_listen = 3310: must be unix:/PATH");
    check_refused("clamd_paths = {\"srv\"}\n", "must begin with /");
    check_refused("clamd_socket_mode = \"0066\"\n", "must be an octal mode");
    check_refused("clamd_socket_mode = \"rw\"\n", "must be an octal mode");
    check_refused("milter_listen = {\"tcp:25\"}\n", "must be unix:/PATH");
    check_refused("milter_listen = {\"inet:25\"}\n", ".conf:1: milter_listen = inet:25: must be");
    check_refused("milter_listen = {\"inet:mx.test:25\"}\n", "with the address in numbers");
    check_refused("clamd_listen = {\"inet:127.0.0.1:65536\"}\n", "must be unix:/PATH");
    check_refused("\nupdate_databases = {\"daily.cvd\"}\n",
                  ".conf:2: update_databases = daily.cvd: must be a database's name without");
    check_refused("update_databases = {\"../x\"}\n", "without extension");
    check_refused("update_databases = {\"none\", \"main\"}\n", "none excludes others");
    check_refused("update_mirrors = {\"ftp://m.test\"}\n", "must be a host name or a URL");
    check_refused("update_urls = {\"m.test/x.ndb\"}\n", "must be a URL");
    check_refused("update_urls = {\"http://m.test/\"}\n", "that ends in the file's name");
    check_refused("update_urls = {\"http://m.test/x.ndb?y=1\"}\n", "ends in the file's name");
    check_refused("update_urls = {\"http://a/x.ndb\", \"http://b/x.ndb\"}\n", "each name once");
    check_refused("update_directories = {\"srv\"}\n", "must begin with /");
    check_refused("update_proxy = \"proxy:3128\"\n", "must be none or http://HOST:PORT");
    assert_null(settings_load("/nonexistent/postern.conf", &error));
    assert_non_null(strstr(error, "/nonexistent/postern.conf: cannot be read"));
}

/* What people mistype is named with its line, and what they may have meant. */
static void
test_settings_nearest(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"\nrul \"a\" {\n}\n", ".conf:2: there is no setting 'rul'; did you mean rule?"},
        {"rule \"a\" {\n\n on_infcted = reject\n}\n", ".conf:3: there is no setting 'on_infcted'; "
                                                      "did you mean on_infected?"},
        {"rule \"a\" {\n workers = 2\n}\n", ".conf:2: there is no setting 'workers'"},
        {"rule \"a\" {\n}\nrule \"a\" {\n}\n", ".conf:3: "},
        {"rule \"a\" {\n direction = inbond\n}\n", "did you mean inbound?"},
        {"rule \"a\" {\n senders = {\"\"}\n}\n", ".conf:2: senders has an empty pattern"},
        {"rule \"a\" {\n clients = {\"192.0.2.0/33\"}\n}\n", ".conf:2: clients = 192.0.2.0/33: "},
        {"\non_limit = quarentine\n",
         ".conf:2: on_limit = quarentine: must be one of tag, "
         "replace, discard, quarantine, reject, tempfail; did you mean "
         "quarantine?"},
        {"message_size = \"100MB\"\n", "did you mean \"100M\"?"},
        {"scan_timeout = 2m\n", "not a number of seconds between 1 and 240; did you mean 120?"},
        {"\n\nstate_storage = \"share\"\n", ".conf:3: state_storage = share: must be exclusive or "
                                            "shared; did you mean shared?"},
        {"# one\n# two \"\n// three\nengine_user = \"a#b//c\" # d\nworkers = 3 // e\n/* f\n g */\n"
         "state_dir = \"/*x\"\nmilter_listen = {\n \"unix:/x\",\n \"inet:h:1\"}\nworkerz = 3\n",
         ".conf:12: there is no setting 'workerz'"},
        {"\nmessage_size = \"1G\"\n", ".conf:2: message_size is larger than spool_memory"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        check_refused(cases[i].text, cases[i].says);
    }
}

/* No configuration delivers infected or unscanned mail like clean mail. */
static void
test_settings_never_deliver(void **state)
{
    static const char *const forbidden[] = {
        "on_infected = accept",   "on_infected = tag",       "on_encrypted = accept",
        "on_limit = accept",      "on_damaged = accept",     "on_unsupported = accept",
        "on_end_to_end = accept", "on_end_to_end = replace", "on_error = accept",
        "on_error = tag",         "on_error = discard",      "on_error = replace",
        "on_emptied = accept",    "on_emptied = tag",        "on_emptied = replace",
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(forbidden); i++) {
        g_autofree char *rule = g_strdup_printf("rule \"x\" {\n%s\n}\n", forbidden[i]);
        check_refused(forbidden[i], "; must be one of ");
        check_refused(rule, ".conf:2: on_");
    }
}

static void
test_rules(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    g_autoptr(settings_t) s = load_text("on_limit = tag\n"
                                        "rule \"one\" {\n direction = submission\n"
                                        " senders = {\"*@A.example\", \"<>\"}\n"
                                        " on_infected = reject\n}\n"
                                        "rule \"two\" {\n clients = {\"192.0.2.0/24\"}\n}\n",
                                        &error);
    assert_null(error);
    assert_int_equal(s->on_limit, ACTION_TAG);
    assert_int_equal(s->rules->len, 2);
    const struct rule *one = g_ptr_array_index(s->rules, 0);
    assert_true(one->has_direction && one->direction == DIRECTION_SUBMISSION);
    assert_true(one->says[ON_INFECTED] && !one->says[ON_LIMIT]);
    assert_int_equal(one->actions[ON_INFECTED], ACTION_REJECT);
    g_autofree char *text = rule_text(one);
    assert_string_equal(text, "{ direction = submission, senders = {\"*@A.example\", \"<>\"}, "
                              "on_infected = reject }");
}

static void
note_change(const char *name, const char *old, const char *fresh, bool is_taken, void *data)
{
    g_string_append_printf(data, "%s %s>%s %d;", name, old, fresh, is_taken);
}

/* A running posternd takes what it can; the rest is said, and stays. */
static void
test_settings_take(void **state)
{
    g_autofree char *error = NULL;
    g_autoptr(GString) said = g_string_new(NULL);
    (void)state;
    g_autoptr(settings_t) old = load_text("on_limit = tag\n", &error);
    g_autoptr(settings_t) same = load_text("on_limit = tag\n", &error);
    g_autoptr(settings_t) fresh = load_text("state_dir = \"/x\"\nworkers = 3\n"
                                            "message_size = \"2M\"\nrule \"r\" {\n}\n"
                                            "trial_shrink = 50\ntrial_clean = \"/c\"\n",
                                            &error);
    settings_take(old, same, note_change, said);
    assert_string_equal(said->str, "");
    settings_take(old, fresh, note_change, said);
    assert_string_equal(said->str, "state_dir /var/lib/postern/state>/x 0;workers 0>3 0;"
                                   "message_size 104857600>2097152 1;on_limit tag>quarantine 1;"
                                   "trial_shrink 20>50 1;trial_clean none>/c 1;"
                                   "rule >\"r\" { } 1;");
    assert_string_equal(old->state_dir, "/var/lib/postern/state");
    assert_int_equal(old->workers, 0);
    assert_int_equal(old->message_size, 2097152);
    assert_int_equal(old->trial_shrink, 50);
    assert_string_equal(old->trial_clean, "/c");
    assert_string_equal(fresh->trial_clean, "none");
    assert_int_equal(old->on_limit, ACTION_QUARANTINE);
    assert_int_equal(old->rules->len, 1);
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
        cmocka_unit_test(test_settings_nearest),
        cmocka_unit_test(test_settings_never_deliver),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_settings_take),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

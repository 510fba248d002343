/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of milters as they stand in Postfix's files, and edits that are taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mta.h"
#include "mta-store.h"
#include "mta-undo.h"

static char milter_socket[] = "unix:/run/postern/milter/milter.sock";
static char milter_port[] = "inet:0.0.0.0:8894";
static char *const listen_unix[] = {milter_socket, NULL};
static char *const listen_inet[] = {milter_port, NULL};

static void
service_free(void *p)
{
    struct postfix_service *service = p;
    g_hash_table_unref(service->overrides);
    g_free(service);
}

/* An instance with a queue and as many services as are added. */
static struct postfix *
instance_new(void)
{
    struct postfix *p = g_new0(struct postfix, 1);
    p->main = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(p->main, (void *)(uintptr_t) "queue_directory",
                        (void *)(uintptr_t) "/srv/queue");
    p->services = g_ptr_array_new_with_free_func(service_free);
    return p;
}

static void
instance_free(struct postfix *p)
{
    g_hash_table_unref(p->main);
    g_ptr_array_unref(p->services);
    g_free(p);
}

static struct postfix_service *
add(struct postfix *p, const char *name, const char *type, const char *command, gboolean chroot)
{
    struct postfix_service *s = g_new0(struct postfix_service, 1);
    s->name = (char *)(uintptr_t)name;
    s->type = (char *)(uintptr_t)type;
    s->command = (char *)(uintptr_t)command;
    s->chroot = chroot;
    s->overrides = g_hash_table_new(g_str_hash, g_str_equal);
    g_ptr_array_add(p->services, s);
    return s;
}

static void
test_add(void **state)
{
    static const char *const cases[][2] = {
        {"", "OURS"},
        {"none", "OURS"},
        {"inet:a:1", "inet:a:1, OURS"},
        {"inet:a:1,  unix:/b", "inet:a:1,  unix:/b, OURS"},
        {"inet:a:1,", "inet:a:1, OURS"},
        {"$my_milters", "$my_milters, OURS"},
        {"inet:a:1 inet:localhost:8891", "inet:a:1 OURS, inet:localhost:8891"},
        {"{ unix:/opendkim/s, default_action=accept }",
         "OURS, { unix:/opendkim/s, default_action=accept }"},
        {"{ inet:a:1, default_action=accept }", "{ inet:a:1, default_action=accept }, OURS"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *list = mta_list_add(cases[i][0], "OURS");
        assert_string_equal(list, cases[i][1]);
    }
}

static void
test_remove(void **state)
{
    static const char *const cases[][2] = {
        {"unix:/postern/milter.sock", ""},
        {"inet:a:1, unix:/postern/milter.sock", "inet:a:1"},
        {"unix:/postern/milter.sock, inet:a:1", "inet:a:1"},
        {"inet:a:1  unix:postern/milter.sock\tinet:b:2", "inet:a:1\tinet:b:2"},
        {"inet:a:1, { unix:/postern/milter.sock, default_action=tempfail }, $more",
         "inet:a:1, $more"},
        {"local:/run/postern/milter/milter.sock", ""},
        {"unix:/srv/queue/postern/milter.sock", ""},
        {"unix:/postern/other.sock", "unix:/postern/other.sock"},
        {"inet:a:8894", "inet:a:8894"},
    };
    struct postfix *p = instance_new();
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *list = mta_list_remove(p, cases[i][0], listen_unix);
        assert_string_equal(list, cases[i][1]);
    }
    g_autofree char *list = mta_list_remove(p, "inet:localhost:8894, inet:b:1", listen_inet);
    assert_string_equal(list, "inet:b:1");
    instance_free(p);
}

static void
test_compact(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"inet:a:1, inet:b:2", "inet:a:1,inet:b:2"},
        {"inet:a:1 ,\tinet:b:2 ", "inet:a:1,inet:b:2"},
        {"{ unix:/x, default_action=accept }, inet:a:1",
         "{unix:/x,default_action=accept},inet:a:1"},
        {"inet:a:1 { unix:/x  default_action=accept }", "inet:a:1,{unix:/x,default_action=accept}"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *list = mta_list_compact(cases[i][0]);
        assert_string_equal(list, cases[i][1]);
    }
}

static void
test_address(void **state)
{
    struct postfix *p = instance_new();
    (void)state;
    struct postfix_service *smtp = add(p, "smtp", "inet", "smtpd", TRUE);
    struct postfix_service *cleanup = add(p, "cleanup", "unix", "cleanup", TRUE);
    g_autofree char *inside = mta_address(p, listen_unix);
    assert_string_equal(inside, "unix:/postern/milter.sock");
    cleanup->chroot = FALSE;
    g_autofree char *both = mta_address(p, listen_unix);
    assert_string_equal(both, "unix:postern/milter.sock");
    smtp->chroot = FALSE;
    g_autofree char *outside = mta_address(p, listen_unix);
    assert_string_equal(outside, milter_socket);
    g_autofree char *port = mta_address(p, listen_inet);
    assert_string_equal(port, "inet:127.0.0.1:8894");
    instance_free(p);
}

static void
test_state(void **state)
{
    struct postfix *p = instance_new();
    (void)state;
    struct postfix_service *smtp = add(p, "smtp", "inet", "smtpd", TRUE);
    struct postfix_service *back = add(p, "127.0.0.1:10025", "inet", "smtpd", TRUE);
    (void)add(p, "cleanup", "unix", "cleanup", TRUE);
    g_hash_table_insert(back->overrides, (void *)(uintptr_t) "smtpd_milters",
                        (void *)(uintptr_t) "");
    assert_int_equal(mta_state(p, listen_unix), MTA_OFF);
    g_hash_table_insert(p->main, (void *)(uintptr_t) "smtpd_milters",
                        (void *)(uintptr_t) "unix:/postern/milter.sock");
    assert_int_equal(mta_state(p, listen_unix), MTA_PARTLY);
    g_hash_table_insert(p->main, (void *)(uintptr_t) "non_smtpd_milters",
                        (void *)(uintptr_t) "unix:/postern/milter.sock");
    assert_int_equal(mta_state(p, listen_unix), MTA_ENABLED);
    g_hash_table_insert(smtp->overrides, (void *)(uintptr_t) "receive_override_options",
                        (void *)(uintptr_t) "no_milters");
    assert_int_equal(mta_state(p, listen_unix), MTA_PARTLY);
    instance_free(p);
}

#define BEFORE "# head\na = 1\n\nsmtpd_milters =\n  # inner\n  inet:a:1\n# about c\nc = 3\n"
#define AFTER \
    "# head\na = 1\n\nsmtpd_milters = inet:a:1, OURS\n  # inner\n# about c\nc = 3\nd = t\n"

static void
check_undo(const char *now, enum mta_undo how, const char *wanted, const char *open_entry)
{
    g_autoptr(GPtrArray) open = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *result = NULL;
    assert_int_equal(mta_undo(MTA_MAIN, BEFORE, AFTER, now, &result, open), how);
    assert_string_equal(result, wanted);
    assert_int_equal(open->len, open_entry == NULL ? 0 : 1);
    if (open_entry != NULL) {
        assert_string_equal(g_ptr_array_index(open, 0), open_entry);
    }
}

static void
test_undo(void **state)
{
    (void)state;
    check_undo(AFTER, MTA_UNDO_WHOLE, BEFORE, NULL);
    check_undo(BEFORE, MTA_UNDO_WHOLE, BEFORE, NULL);
    /* Another entry was changed, and one added. */
    check_undo("# head\na = 2\n\nsmtpd_milters = inet:a:1, OURS\n  # inner\n# about c\nc = 3\n"
               "d = t\ne = 5\n",
               MTA_UNDO_MERGED,
               "# head\na = 2\n\nsmtpd_milters =\n  # inner\n  inet:a:1\n# about c\nc = 3\ne = 5\n",
               NULL);
    /* Ours was changed too: that one stays. */
    check_undo("a = 1\n\nsmtpd_milters = inet:a:1, OURS, inet:b:2\nc = 3\nd = t\n", MTA_UNDO_OPEN,
               "a = 1\n\nsmtpd_milters = inet:a:1, OURS, inet:b:2\nc = 3\n", "smtpd_milters");
    /* Ours was taken out by hand. */
    check_undo("# head\na = 1\n\n# about c\nc = 3\n", MTA_UNDO_MERGED,
               "# head\na = 1\n\n# about c\nc = 3\n", NULL);
}

static void
test_undo_master(void **state)
{
    static const char before[] = "smtp inet n - y - - smtpd\n#x\nsubmission inet n - y - - smtpd\n"
                                 "  -o a=b";
    static const char after[] = "smtp inet n - y - - smtpd\n#x\nsubmission inet n - y - - smtpd\n"
                                "    -o a=b\n    -o c=d\nrelease unix n - n - 2 smtpd\n";
    g_autoptr(GPtrArray) open = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *now = g_strconcat(after, "more unix n - n - 2 smtpd\n", NULL);
    g_autofree char *wanted = g_strconcat(before, "\nmore unix n - n - 2 smtpd\n", NULL);
    g_autofree char *result = NULL;
    g_autofree char *again = NULL;
    (void)state;
    assert_int_equal(mta_undo(MTA_MASTER, before, after, now, &result, open), MTA_UNDO_MERGED);
    assert_string_equal(result, wanted);
    assert_int_equal(open->len, 0);
    g_autofree char *changed = g_strconcat(after, "    -o e=f\n", NULL);
    assert_int_equal(mta_undo(MTA_MASTER, before, after, changed, &again, open), MTA_UNDO_OPEN);
    assert_string_equal(g_ptr_array_index(open, 0), "release/unix");
}

static void *
close_later(void *store)
{
    g_usleep(300000);
    mta_store_close(store);
    return NULL;
}

/* Who comes second waits for the first, and has a lock that is there. */
static void
test_store_lock(void **state)
{
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *main_cf = g_build_filename(dir, "main.cf", NULL);
    g_autofree char *master_cf = g_build_filename(dir, "master.cf", NULL);
    g_autofree char *records = g_build_filename(dir, "records", NULL);
    g_autofree char *error = NULL;
    struct mta_store *first = NULL;
    struct mta_store *second = NULL;
    (void)state;
    assert_true(g_file_set_contents(main_cf, "a = b\n", -1, NULL));
    assert_true(g_file_set_contents(master_cf, "", -1, NULL));
    assert_int_equal(mta_store_open(dir, records, &first, &error), 0);
    GThread *thread = g_thread_new("close", close_later, first);
    assert_int_equal(mta_store_open(dir, records, &second, &error), 0);
    g_thread_join(thread);
    g_autofree char *lock = g_build_filename(mta_store_records(second), "lock", NULL);
    assert_int_equal(access(lock, F_OK), 0);
    g_autofree char *folder = g_path_get_dirname(lock);
    mta_store_close(second);
    assert_int_not_equal(access(folder, F_OK), 0);
    g_autofree char *above = g_path_get_dirname(folder);
    (void)rmdir(above);
    (void)rmdir(records);
    (void)unlink(main_cf);
    (void)unlink(master_cf);
    (void)rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),         cmocka_unit_test(test_remove),
        cmocka_unit_test(test_compact),     cmocka_unit_test(test_address),
        cmocka_unit_test(test_state),       cmocka_unit_test(test_undo),
        cmocka_unit_test(test_undo_master), cmocka_unit_test(test_store_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

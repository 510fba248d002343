/* SPDX-License-Identifier: GPL-2.0-only */
/* A store in which root works, though another user owns it and may have been taken over; and others
 * who may only look. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "store.h"

/* Anybody but root, and not this process's. */
#define STRANGER 65534

struct bench {
    char *dir;
    char *signatures;
    char *other; /* a directory that is not the store's */
    struct store *store;
};

static struct stat
look(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st;
}

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    g_autofree char *error = NULL;
    b->dir = g_dir_make_tmp("postern-rights-XXXXXX", NULL);
    b->signatures = g_build_filename(b->dir, "signatures", NULL);
    b->other = g_build_filename(b->dir, "other", NULL);
    assert_int_equal(mkdir(b->signatures, 0755), 0);
    assert_int_equal(mkdir(b->other, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(b->signatures, STRANGER, STRANGER), 0);
    }
    assert_int_equal(store_open(b->signatures, TRUE, &b->store, &error), 0);
    *data = b;
    return 0;
}

static void
remove_all(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        remove_all(below);
    }
    g_clear_pointer(&dir, g_dir_close);
    (void)g_remove(path);
}

static int
teardown(void **data)
{
    struct bench *b = *data;
    store_free(b->store);
    remove_all(b->dir);
    g_free(b->dir);
    g_free(b->signatures);
    g_free(b->other);
    g_free(b);
    return 0;
}

/* Makes a generation, in a shell whose umask shuts everybody out. Returns its name. */
static char *
made(struct bench *b)
{
    struct store_new new;
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(b->dir, "one.ndb", NULL);
    char *const paths[] = {path, NULL};
    assert_true(g_file_set_contents(path, "one", -1, NULL));
    mode_t before = umask(077);
    assert_int_equal(store_add(b->store, paths, &new, &error), 0);
    (void)umask(before);
    return g_strdup(new.name);
}

/* Root would give away, and open to all, whatever directory the link leads to. */
static void
test_records_lead_away(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *name = made(b);
    g_autofree char *records = g_build_filename(b->signatures, RECORD_DIR, NULL);
    const struct stat before = look(b->other);
    remove_all(records);
    assert_int_equal(symlink(b->other, records), 0);
    assert_true(store_set(b->store, name, RECORD_REJECTED, "bad", &error) < 0);
    const struct stat after = look(b->other);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
    assert_int_equal(rmdir(b->other), 0); /* nothing was put there */
}

/* Who scans reads what root made, whatever root's umask is. */
static void
test_all_can_read(void **data)
{
    struct bench *b = *data;
    g_autofree char *name = made(b);
    g_autofree char *record = g_strdup_printf("%s/" RECORD_DIR "/%s.json", b->signatures, name);
    g_autofree char *manifest = g_build_filename(b->signatures, name, MANIFEST_NAME, NULL);
    g_autofree char *file = g_build_filename(b->signatures, name, "one.ndb", NULL);
    assert_int_equal(look(record).st_mode & 07777, 0644);
    assert_int_equal(look(manifest).st_mode & 07777, 0644);
    assert_int_equal(look(file).st_mode & 07777, 0644);
}

/* All may open the directory, and everybody may lock what he has open. */
static void
test_strangers_lock(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *lock = g_build_filename(b->signatures, ".lock", NULL);
    int stranger = open(b->signatures, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(stranger, LOCK_EX | LOCK_NB), 0);
    g_clear_pointer(&b->store, store_free);
    assert_int_equal(store_open(b->signatures, TRUE, &b->store, &error), 0);
    close(stranger);
    const struct stat st = look(lock);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, look(b->signatures).st_uid);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records_lead_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_can_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers_lock, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

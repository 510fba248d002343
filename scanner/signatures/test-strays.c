/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that libclamav would load and a generation must not have. What libclamav 1.4.6 loads of a
 * directory was tried: also what begins with a dot, whatever the case of its extension. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draft.h"
#include "store.h"
#include "test-tree.h"

/* What readdir(3) ends with; 0: as ever. */
static int end_of_dir;

struct dirent *
readdir(DIR *dir)
{
    struct dirent *(*real)(DIR *) = (struct dirent * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir");
    struct dirent *entry = real(dir);
    if (entry == NULL && end_of_dir != 0) {
        errno = end_of_dir;
    }
    return entry;
}

struct bench {
    char *dir;
    char *signatures;
    struct store *store;
};

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    g_autofree char *error = NULL;
    b->dir = g_dir_make_tmp("postern-strays-XXXXXX", NULL);
    b->signatures = g_build_filename(b->dir, "signatures", NULL);
    assert_int_equal(store_open(b->signatures, TRUE, &b->store, &error), 0);
    *data = b;
    return 0;
}

static int
teardown(void **data)
{
    struct bench *b = *data;
    store_free(b->store);
    test_tree_remove(b->dir);
    g_free(b->signatures);
    g_free(b->dir);
    g_free(b);
    return 0;
}

/* To be freed by g_free(). */
static char *
put(const char *dir, const char *name, const char *text)
{
    char *path = g_build_filename(dir, name, NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static void
test_beside_the_manifest(void **data)
{
    struct bench *b = *data;
    static const char *const strays[] = {"x.ign2", ".x.ndb", ".ndb",  "X.FP",
                                         "x.ioc",  "x.cfg",  ".x.CVD"};
    static const char *const harmless[] = {"README", ".hidden", "x.ndb.old", "ndb"};
    g_autofree char *one = put(b->dir, "one.ndb", "one");
    char *paths[] = {one, NULL};
    struct store_new new;
    g_autofree char *error = NULL;
    assert_int_equal(store_add(b->store, paths, &new, &error), 0);
    g_autofree char *dir = g_build_filename(b->signatures, new.name, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(harmless); i++) {
        g_autofree char *path = put(dir, harmless[i], "text");
        assert_int_equal(store_verify(b->store, new.name, &error), 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(strays); i++) {
        g_autofree char *path = put(dir, strays[i], "text");
        assert_int_equal(store_verify(b->store, new.name, &error), -EBADMSG);
        assert_non_null(strstr(error, strays[i]));
        g_clear_pointer(&error, g_free);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(store_verify(b->store, new.name, &error), 0);
}

/* One line of it switches the unpacking of programs, of office documents or of web pages off, and
 * nothing says so. */
static void
test_switches(void **data)
{
    struct bench *b = *data;
    g_autofree char *one = put(b->dir, "one.ndb", "one");
    g_autofree char *off = put(b->dir, "off.CFG", "PE:0x0\n");
    char *paths[] = {one, off, NULL};
    char *dirs[] = {b->dir, NULL};
    struct store_new new;
    g_autofree char *error = NULL;
    assert_int_equal(store_add(b->store, paths, &new, &error), -EPERM);
    assert_non_null(strstr(error, "off.CFG: switches parts of the scanner off"));
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_add(b->store, dirs, &new, &error), -EPERM);
    g_clear_pointer(&error, g_free);
    g_autofree char *cud = put(b->dir, "x.Cud", "ClamAV-VDB:...");
    char *container[] = {one, cud, NULL};
    assert_int_equal(store_add(b->store, container, &new, &error), -EPERM);
    assert_non_null(strstr(error, "x.Cud: nobody signed it"));
    g_autoptr(GPtrArray) list = store_list(b->store);
    assert_int_equal(list->len, 0);
}

/* As of a postern-update or a postern-share that was taken over. */
static void
test_switches_in_an_offer(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *error = NULL;
    g_autofree char *offer = g_build_filename(b->dir, "offer", NULL);
    g_autofree char *path = g_build_filename(offer, MANIFEST_NAME, NULL);
    g_autoptr(manifest_t) manifest = manifest_new();
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    file->name = g_strdup("off.cfg");
    file->origin = g_strdup("a test");
    file->size = 7;
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, "PE:0x0\n", -1);
    g_strlcpy(file->sha256, sum, sizeof file->sha256);
    manifest_add(manifest, file);
    assert_int_equal(mkdir(offer, 0755), 0);
    g_autofree char *off = put(offer, "off.cfg", "PE:0x0\n");
    int fd = open(offer, O_RDONLY | O_DIRECTORY);
    assert_int_equal(manifest_write(manifest, fd), 0);
    assert_int_equal(store_take(b->store, fd, 4096, &new, &error), -EPERM);
    close(fd);
}

/* libclamav loads what is left of it. */
static void
test_half_a_database(void **data)
{
    struct bench *b = *data;
    g_autofree char *half = put(b->dir, "test.cld", "ClamAV-VDB:half");
    char *paths[] = {half, NULL};
    struct store_new new;
    g_autofree char *error = NULL;
    assert_int_equal(store_add(b->store, paths, &new, &error), -EBADMSG);
    assert_non_null(strstr(error, half));
    assert_non_null(strstr(error, "/test.cld: is cut off"));
    g_autoptr(GPtrArray) list = store_list(b->store);
    assert_int_equal(list->len, 0);
}

/* As of a network file system that goes away in the middle: what was listed by then is not all. */
static void
test_half_a_directory(void **data)
{
    struct bench *b = *data;
    g_autofree char *one = put(b->dir, "one.ndb", "one");
    char *paths[] = {one, NULL};
    char *dirs[] = {b->dir, NULL};
    struct store_new new;
    g_autofree char *error = NULL;
    assert_int_equal(store_add(b->store, paths, &new, &error), 0);
    end_of_dir = EIO;
    int verified = store_verify(b->store, new.name, &error);
    g_clear_pointer(&error, g_free);
    int added = store_add(b->store, dirs, &new, &error);
    end_of_dir = 0;
    assert_int_equal(verified, -EIO);
    assert_int_equal(added, -EINVAL);
    assert_non_null(strstr(error, "Input/output error"));
}

#define T(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_beside_the_manifest), T(test_switches),         T(test_switches_in_an_offer),
        T(test_half_a_database),     T(test_half_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

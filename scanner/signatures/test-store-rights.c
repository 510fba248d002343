/* SPDX-License-Identifier: GPL-2.0-only */
/* A store in which root works, though another user owns it and may have been taken over; others who
 * may only look; what others write for us to read; and the disk that is shared with others. */
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
#include <sys/statvfs.h>
#include <unistd.h>

#include "draft.h"
#include "json-file.h"
#include "store.h"
#include "test-tree.h"

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

static int
teardown(void **data)
{
    struct bench *b = *data;
    store_free(b->store);
    test_tree_remove(b->dir);
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
    test_tree_remove(records);
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

/* Somebody else writes on between fstat() and read(). */
static gboolean is_growing;

int
fstat(int fd, struct stat *st)
{
    int rc = fstatat(fd, "", st, AT_EMPTY_PATH);
    st->st_size = is_growing ? 1 : st->st_size;
    return rc;
}

static void
test_json_of_others(void **data)
{
    struct bench *b = *data;
    g_autofree char *path = g_build_filename(b->dir, "status.json", NULL);
    g_autofree char *link = g_build_filename(b->dir, "link.json", NULL);
    g_autofree char *fifo = g_build_filename(b->dir, "fifo.json", NULL);
    g_autofree char *text = g_strdup_printf("%*s", 4096, "{}");
    assert_true(g_file_set_contents(path, text, -1, NULL));
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(mkfifo(fifo, 0644), 0);
    json_t *object = json_file_load(path, 4096);
    assert_true(json_is_object(object));
    json_decref(object);
    is_growing = TRUE;
    assert_null(json_file_load(path, 4095));
    is_growing = FALSE;
    assert_null(json_file_load(path, 4095));
    assert_null(json_file_load(link, 4096));
    assert_null(json_file_load(fifo, 4096));
    assert_null(json_file_load(b->dir, 4096));
}

/* Each costs whoever looks, and many look. */
static int
read_many(const struct bench *b, guint n)
{
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(b->other, MANIFEST_NAME, NULL);
    g_autoptr(manifest_t) manifest = manifest_new();
    g_autoptr(manifest_t) found = NULL;
    json_t *files = json_array();
    for (guint i = 0; i < n; i++) {
        struct manifest_file *file = g_new0(struct manifest_file, 1);
        file->name = g_strdup_printf("%x.ndb", n - i);
        file->origin = g_strdup("");
        memset(file->sha256, 'a', 64);
        json_array_append_new(files,
                              json_pack("{s:s, s:i, s:s, s:s, s:i}", "file", file->name, "size", 1,
                                        "sha256", file->sha256, "origin", "", "time", 0));
        manifest_add(manifest, file);
    }
    json_t *object = json_pack("{s:i, s:s, s:i, s:o}", "version", 1, "identity", manifest->identity,
                               "created", 1, "files", files);
    assert_int_equal(json_dump_file(object, path, JSON_COMPACT), 0);
    json_decref(object);
    int dir = open(b->other, O_RDONLY | O_DIRECTORY);
    int rc = manifest_read(dir, &found, &error);
    close(dir);
    return rc;
}

static void
test_many_files(void **data)
{
    const struct bench *b = *data;
    assert_int_equal(read_many(b, MANIFEST_FILES_MAX), 0);
    assert_int_equal(read_many(b, MANIFEST_FILES_MAX + 1), -EBADMSG);
}

static void
test_many_added(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *error = NULL;
    char *const paths[] = {b->other, NULL};
    for (guint i = 0; i <= MANIFEST_FILES_MAX; i++) {
        g_autofree char *path = g_strdup_printf("%s/%u.ndb", b->other, i);
        assert_true(g_file_set_contents(path, "x", -1, NULL));
    }
    assert_int_equal(store_add(b->store, paths, &new, &error), -E2BIG);
    assert_non_null(strstr(error, "no more than 1000 files"));
    g_autoptr(GPtrArray) list = store_list(b->store);
    assert_int_equal(list->len, 0);
}

/* The disk has so much left. */
static guint64 room;

int
fstatvfs(int fd, struct statvfs *ret)
{
    (void)fd;
    *ret = (struct statvfs){.f_frsize = 1, .f_bavail = room};
    return 0;
}

/* An offer of TEXT in a.ndb; a descriptor. */
static int
offer_of(struct bench *b, const char *text)
{
    g_autoptr(draft_t) draft = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(b->dir, "a.ndb", NULL);
    g_autofree char *offer = g_build_filename(b->other, "offer", NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    int base = open(b->other, O_RDONLY | O_DIRECTORY);
    int fd = open(path, O_RDONLY);
    assert_int_equal(draft_begin(base, 4096, &draft, &error), 0);
    assert_int_equal(draft_add(draft, "a.ndb", fd, "here", NULL, &error), 0);
    assert_int_equal(draft_finish(draft, "offer", NULL, &error), 0);
    close(fd);
    close(base);
    return open(offer, O_RDONLY | O_DIRECTORY);
}

/* What is damaged is put right by an offer of the same, and by nothing else. */
static void
test_mend(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    char name[MANIFEST_NAME_DIGITS + 1];
    g_autofree char *error = NULL;
    int offer = offer_of(b, "12345");
    room = 1 << 30;
    assert_int_equal(store_mend(b->store, offer, 4096, name, &error), -ENOENT);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_take(b->store, offer, 4096, &new, &error), 0);
    assert_int_equal(store_mend(b->store, offer, 4096, name, &error), -ENOENT); /* not tried */
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_adopt(b->store, new.name, TRUE, &error), 0);
    assert_int_equal(store_mend(b->store, offer, 4096, name, &error), -EEXIST);
    g_clear_pointer(&error, g_free);

    g_autofree char *file = g_build_filename(b->signatures, new.name, "a.ndb", NULL);
    assert_true(g_file_set_contents(file, "1234x", -1, NULL));
    int another = offer_of(b, "6");
    assert_int_equal(store_mend(b->store, another, 4096, name, &error), -ENOENT);
    g_clear_pointer(&error, g_free);
    close(another);
    close(offer);
    offer = offer_of(b, "12345");
    assert_int_equal(store_mend(b->store, offer, 4, name, &error), -EFBIG);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_mend(b->store, offer, 4096, name, &error), 0);
    assert_string_equal(name, new.name);
    assert_int_equal(store_verify(b->store, name, &error), 0);

    /* Nor by one that says so alone. */
    g_autofree char *lie = g_build_filename(b->other, "offer", "a.ndb", NULL);
    assert_true(g_file_set_contents(file, "1234x", -1, NULL));
    assert_true(g_file_set_contents(lie, "1234y", -1, NULL));
    assert_int_equal(store_mend(b->store, offer, 4096, name, &error), -EBADMSG);
    close(offer);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(file, &text, NULL, NULL));
    assert_string_equal(text, "1234x");
}

/* State and quarantine may be on the same disk: mail does not wait for signatures. */
static void
test_room_for_others(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *error = NULL;
    int dir = offer_of(b, "12345");
    room = (64 << 20) + 4;
    assert_int_equal(store_take(b->store, dir, 4096, &new, &error), -ENOSPC);
    assert_non_null(strstr(error, b->signatures));
    assert_non_null(strstr(error, "No space left"));
    g_clear_pointer(&error, g_free);
    room++;
    assert_int_equal(store_take(b->store, dir, 4096, &new, &error), 0);
    close(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records_lead_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_can_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_added, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_for_others, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

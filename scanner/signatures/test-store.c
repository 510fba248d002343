/* SPDX-License-Identifier: GPL-2.0-only */
/* Generations: made, taken, tried, adopted, pinned, rejected, removed; what must not be taken. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cvd-head.h"
#include "draft.h"
#include "signature-files.h"
#include "store.h"
#include "test-tree.h"

#define LIMIT 4096

struct bench {
    char *dir;
    char *signatures;
    char *offers;
    struct store *store;
};

static int
setup(void **data)
{
    struct bench *b = g_new0(struct bench, 1);
    g_autofree char *error = NULL;
    b->dir = g_dir_make_tmp("postern-store-XXXXXX", NULL);
    b->signatures = g_build_filename(b->dir, "signatures", NULL);
    b->offers = g_build_filename(b->dir, "update", NULL);
    assert_int_equal(mkdir(b->offers, 0755), 0);
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
    g_free(b->offers);
    g_free(b);
    return 0;
}

/* A path below the bench's directory; freed by g_free(). */
static char *
at(struct bench *b, const char *path)
{
    return g_build_filename(b->dir, path, NULL);
}

static char *
put(struct bench *b, const char *path, const char *text)
{
    char *full = at(b, path);
    assert_true(g_file_set_contents(full, text, -1, NULL));
    return full;
}

/* A generation of one file with this TEXT; its name. */
static char *
made(struct bench *b, const char *text)
{
    struct store_new new;
    g_autofree char *error = NULL;
    g_autofree char *path = put(b, "one.ndb", text);
    char *const paths[] = {path, NULL};
    assert_int_equal(store_add(b->store, paths, &new, &error), 0);
    return g_strdup(new.name);
}

static enum record_state
state_of(struct bench *b, const char *name)
{
    g_autofree char *error = NULL;
    g_autoptr(store_entry_t) entry = store_find(b->store, name, &error);
    assert_non_null(entry);
    return entry->record.state;
}

static char *
current(struct bench *b)
{
    g_autofree char *path = at(b, "signatures/current");
    return g_file_read_link(path, NULL);
}

/* An offer with one file, as postern-update makes it; a descriptor of it. */
static int
offered(struct bench *b, const char *text)
{
    g_autoptr(draft_t) draft = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = put(b, "fetched.ndb", text);
    g_autofree char *offer = at(b, "update/offer");
    int base = open(b->offers, O_RDONLY | O_DIRECTORY);
    int fd = open(path, O_RDONLY);
    assert_int_equal(draft_begin(base, LIMIT, &draft, &error), 0);
    assert_int_equal(draft_add(draft, "fetched.ndb", fd, "http://example", NULL, &error), 0);
    assert_int_equal(draft_finish(draft, "offer", NULL, &error), 0);
    close(fd);
    close(base);
    fd = open(offer, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static int
take(struct bench *b, int offer, guint64 limit, struct store_new *ret)
{
    g_autofree char *error = NULL;
    int rc = store_take(b->store, offer, limit, ret, &error);
    assert_int_equal(rc < 0, error != NULL);
    close(offer);
    return rc;
}

/* As if NAME had been put together at CREATED. */
static void
dated(struct bench *b, const char *name, gint64 created)
{
    g_autofree char *path = g_build_filename(b->signatures, name, "manifest.json", NULL);
    json_t *manifest = json_load_file(path, 0, NULL);
    assert_int_equal(json_object_set_new(manifest, "created", json_integer(created)), 0);
    assert_int_equal(json_dump_file(manifest, path, 0), 0);
    json_decref(manifest);
}

static void
test_way(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *name = made(b, "one");
    assert_int_equal(state_of(b, name), RECORD_FETCHED);
    assert_int_equal(store_adopt(b->store, name, FALSE, &error), -EPERM);
    assert_non_null(strstr(error, "was not tried"));
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_set(b->store, name, RECORD_TRIED, NULL, &error), -EINVAL);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_set(b->store, name, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_set(b->store, name, RECORD_TRIED, NULL, &error), 0);
    assert_int_equal(store_adopt(b->store, name, FALSE, &error), 0);
    g_autofree char *now = current(b);
    assert_string_equal(now, name);
    assert_int_equal(state_of(b, "current"), RECORD_ADOPTED);
    assert_int_equal(store_set(b->store, name, RECORD_REJECTED, "x", &error), -EBUSY);
}

static void
test_previous(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *one = made(b, "one");
    g_autofree char *two = made(b, "two");
    assert_int_equal(store_adopt(b->store, one, TRUE, &error), 0);
    assert_null(store_find(b->store, "previous", &error));
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_adopt(b->store, two, TRUE, &error), 0);
    g_autoptr(store_entry_t) previous = store_find(b->store, "previous", &error);
    assert_string_equal(previous->name, one);
    /* Back again, and what failed is never adopted by itself. */
    assert_int_equal(store_adopt(b->store, one, FALSE, &error), 0);
    assert_int_equal(store_set(b->store, two, RECORD_REJECTED, "it crashed", &error), 0);
    /* Nor does it come back where what is current cannot be loaded. */
    assert_int_equal(store_return(b->store, two, &error), -ENOENT);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_adopt(b->store, two, FALSE, &error), -EPERM);
    assert_non_null(strstr(error, "it crashed"));
}

static void
test_pinned(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *one = made(b, "one");
    g_autofree char *two = made(b, "two");
    assert_int_equal(store_adopt(b->store, one, TRUE, &error), 0);
    assert_int_equal(store_pin(b->store, one, &error), 0);
    assert_int_equal(store_set(b->store, two, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_set(b->store, two, RECORD_TRIED, NULL, &error), 0);
    assert_int_equal(store_adopt(b->store, two, FALSE, &error), -EPERM);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_set(b->store, one, RECORD_REJECTED, NULL, &error), -EBUSY);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_pin(b->store, NULL, &error), 0);
    assert_int_equal(store_adopt(b->store, two, FALSE, &error), 0);
}

/* A power cut between the link and the record, and in the middle of a trial. */
static void
test_recover(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *one = made(b, "one");
    g_autofree char *two = made(b, "two");
    g_autofree char *link = at(b, "signatures/current");
    assert_int_equal(symlink(one, link), 0);
    assert_int_equal(store_set(b->store, two, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_recover(b->store, &error), 0);
    assert_int_equal(state_of(b, one), RECORD_ADOPTED);
    assert_int_equal(state_of(b, two), RECORD_FETCHED);
    assert_int_equal(store_set(b->store, two, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_recover(b->store, &error), 0);
    assert_int_equal(state_of(b, two), RECORD_REJECTED);
}

static void
test_prune(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *names[6];
    static const char *const texts[] = {"a", "b", "c", "d", "e", "f"};
    for (int i = 0; i < 6; i++) {
        names[i] = made(b, texts[i]);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(store_adopt(b->store, names[i], TRUE, &error), 0);
    }
    assert_int_equal(store_set(b->store, names[5], RECORD_REJECTED, "bad", &error), 0);
    /* 3 is current; one of 0 to 2 is the previous one; 4 waits; 5 is rejected. */
    assert_int_equal(store_prune(b->store, 1, &error), 3);
    g_autofree char *gone = g_build_filename(b->signatures, names[5], NULL);
    g_autofree char *kept = g_build_filename(b->signatures, names[4], NULL);
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_int_equal(access(kept, F_OK), 0);
    assert_int_equal(state_of(b, names[5]), RECORD_REJECTED);
    for (int i = 0; i < 6; i++) {
        g_free(g_steal_pointer(&names[i]));
    }
}

/* What is pinned, or has no memory for a trial, keeps all that comes from being tried, for months.
 */
static void
test_prune_what_waits(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *in_use = made(b, "in use");
    assert_int_equal(store_adopt(b->store, in_use, TRUE, &error), 0);
    assert_int_equal(store_pin(b->store, in_use, &error), 0);
    g_autofree char *tried = made(b, "tried");
    assert_int_equal(store_set(b->store, tried, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_set(b->store, tried, RECORD_TRIED, NULL, &error), 0);
    for (int i = 0; i < 9; i++) {
        g_autofree char *text = g_strdup_printf("waits %d", i);
        g_autofree char *name = made(b, text);
        dated(b, name, g_get_real_time() / G_USEC_PER_SEC + i + 1);
        assert_int_equal(store_prune(b->store, 3, &error), i < 3 ? 0 : 1);
        assert_int_equal(state_of(b, name), RECORD_FETCHED);
    }
    assert_int_equal(state_of(b, tried), RECORD_TRIED);
    g_autoptr(GPtrArray) list = store_list(b->store);
    assert_int_equal(list->len, 5);
}

static void
test_verify(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *name = made(b, "one");
    g_autofree char *path = g_build_filename(b->signatures, name, "one.ndb", NULL);
    assert_int_equal(store_verify(b->store, name, &error), 0);
    assert_true(g_file_set_contents(path, "onf", -1, NULL));
    assert_int_equal(store_verify(b->store, name, &error), -EBADMSG);
    assert_non_null(strstr(error, "one.ndb"));
}

static void
test_busy(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    struct store *second = NULL;
    assert_int_equal(store_open(b->signatures, TRUE, &second, &error), -EBUSY);
    assert_int_equal(store_open(b->signatures, FALSE, &second, &error), 0);
    store_free(second);
}

static void
test_take(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *error = NULL;
    assert_int_equal(take(b, offered(b, "one"), LIMIT, &new), 0);
    assert_false(new.existed);
    assert_int_equal(state_of(b, new.name), RECORD_FETCHED);
    assert_int_equal(store_verify(b->store, new.name, &error), 0);
    assert_int_equal(take(b, offered(b, "one"), LIMIT, &new), 0);
    assert_true(new.existed);
    assert_int_equal(store_set(b->store, new.name, RECORD_REJECTED, "bad", &error), 0);
    assert_int_equal(store_prune(b->store, 1, &error), 1);
    assert_int_equal(take(b, offered(b, "one"), LIMIT, &new), -EALREADY);
}

/* What a postern-update that was taken over might offer. */
static void
test_hostile_offer(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *file = at(b, "update/offer/fetched.ndb");
    g_autofree char *manifest = at(b, "update/offer/manifest.json");
    g_autofree char *secret = put(b, "secret", "one");

    int offer = offered(b, "one");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink(secret, file), 0);
    assert_int_equal(take(b, offer, LIMIT, &new), -ELOOP);

    offer = offered(b, "one");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkfifo(file, 0644), 0);
    assert_int_equal(take(b, offer, LIMIT, &new), -EBADMSG);

    offer = offered(b, "one");
    assert_true(g_file_set_contents(file, "two", -1, NULL));
    assert_int_equal(take(b, offer, LIMIT, &new), -EBADMSG);

    /* Longer than it says, to fill the disk. */
    offer = offered(b, "one");
    assert_int_equal(truncate(file, 1LL << 40), 0);
    assert_int_equal(take(b, offer, LIMIT, &new), -EFBIG);

    offer = offered(b, "one");
    assert_int_equal(take(b, offer, 2, &new), -EFBIG);

    offer = offered(b, "one");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(take(b, offer, LIMIT, &new), -ESTALE);

    static const char *const bad[] = {"", "{}", "[1]",
                                      "{\"version\":1,\"created\":1,\"files\":[]}"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        offer = offered(b, "one");
        assert_true(g_file_set_contents(manifest, bad[i], -1, NULL));
        assert_int_equal(take(b, offer, LIMIT, &new), -EBADMSG);
    }
    g_autoptr(GPtrArray) list = store_list(b->store);
    assert_int_equal(list->len, 0);
}

/* One that belongs to somebody else would be published by who takes it. */
static void
test_foreign_file(void **data)
{
    struct bench *b = *data;
    struct store_new new;
    g_autofree char *file = at(b, "update/offer/fetched.ndb");
    if (geteuid() != 0) {
        skip();
    }
    int offer = offered(b, "one");
    assert_int_equal(chown(file, 65534, 65534), 0);
    assert_int_equal(take(b, offer, LIMIT, &new), -EBADMSG);
}

/* Everything else about these manifests is right. */
static int
read_back(const char *name)
{
    g_autofree char *dir = g_dir_make_tmp("postern-manifest-XXXXXX", NULL);
    g_autofree char *error = NULL;
    g_autoptr(manifest_t) manifest = manifest_new();
    g_autoptr(manifest_t) found = NULL;
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    file->name = g_strdup(name);
    file->origin = g_strdup("here");
    file->size = 1;
    memset(file->sha256, 'a', 64);
    manifest_add(manifest, file);
    assert_int_equal(manifest_write(manifest, fd), 0);
    int rc = manifest_read(fd, &found, &error);
    close(fd);
    test_tree_remove(dir);
    return rc;
}

static void
test_names(void **data)
{
    (void)data;
    static const char *const bad[] = {"../x.ndb", ".x.ndb", "x", "a/b.ndb", "manifest.json"};
    assert_int_equal(read_back("x.ndb"), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(read_back(bad[i]), -EBADMSG);
    }
}

static gint64
time_of(const char *database, gint64 created, gint64 time, gint64 built)
{
    g_autoptr(manifest_t) manifest = manifest_new();
    const char *const names[] = {"a.ndb", database};
    manifest->created = created;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        struct manifest_file *file = g_new0(struct manifest_file, 1);
        file->name = g_strdup(names[i]);
        file->time = time;
        file->built = i == 1 ? built : 0;
        manifest_add(manifest, file);
    }
    return manifest_time(manifest);
}

static void
test_time(void **data)
{
    (void)data;
    assert_int_equal(time_of("b.cvd", 5000000, 3000, 4000), 4000);
    assert_int_equal(time_of("b.cvd", 5000000, 6000, 4000), 6000);
    assert_int_equal(time_of("daily.cld", 5000000, 6000, 4000), 4000);
    /* From the future beside one that is not; both: the clock here was wrong. */
    assert_int_equal(time_of("b.cvd", 5000000, 9000000, 4000), 4000);
    assert_int_equal(time_of("daily.cvd", 5000000, 6000, 9000000), 6000);
    assert_int_equal(time_of("b.cvd", 5000, 3000000, 4000000), 4000000);
}

static int
head_of(const char *text, struct cvd_head *head)
{
    char padded[CVD_HEAD_SIZE + 1];
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("postern-cvd-XXXXXX", &path, NULL);
    snprintf(padded, sizeof padded, "%-*s", CVD_HEAD_SIZE, text);
    assert_int_equal(write(fd, padded, CVD_HEAD_SIZE), CVD_HEAD_SIZE);
    int rc = cvd_head_read(fd, head);
    close(fd);
    (void)unlink(path);
    return rc;
}

static void
test_cvd_head(void **data)
{
    struct cvd_head head;
    (void)data;
    assert_int_equal(
        head_of("ClamAV-VDB:22 Jun 2021 14-58 -0400:7:14:90:X:sig:me:1624388302", &head), 0);
    assert_int_equal(head.version, 7);
    assert_int_equal(head.signatures, 14);
    assert_int_equal(head.built, 1624388302);
    assert_int_equal(head_of("ClamAV-VDB:t:7:14:90:X", &head), 0);
    assert_int_equal(head.built, 0);
    assert_int_equal(head_of("ClamAV-VDB:t:-7:14:90:X", &head), -EBADMSG);
    assert_int_equal(head_of("<html>:t:7:14:90:X", &head), -EBADMSG);
    assert_int_equal(head_of("ClamAV-VDB:t:7", &head), -EBADMSG);
}

static void
assert_candidate(struct bench *b, const char *name)
{
    g_autoptr(store_entry_t) entry = store_candidate(b->store);
    if (name == NULL) {
        assert_null(entry);
    } else {
        assert_non_null(entry);
        assert_string_equal(entry->name, name);
    }
}

static void
test_candidate(void **data)
{
    struct bench *b = *data;
    const gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_autofree char *error = NULL;
    g_autofree char *old = made(b, "old");
    g_autofree char *in_use = made(b, "in use");
    g_autofree char *new = made(b, "new");
    g_autofree char *newest = made(b, "newest");
    dated(b, old, now - 30);
    dated(b, in_use, now - 20);
    dated(b, new, now - 10);
    dated(b, newest, now - 5);
    assert_candidate(b, newest);
    assert_int_equal(store_adopt(b->store, in_use, TRUE, &error), 0);
    assert_int_equal(store_set(b->store, newest, RECORD_REJECTED, "bad", &error), 0);
    assert_candidate(b, new);
    assert_int_equal(store_set(b->store, new, RECORD_TRYING, NULL, &error), 0);
    assert_candidate(b, NULL); /* the old one is older than what is in use */
    assert_int_equal(store_pin(b->store, old, &error), 0);
    assert_int_equal(store_set(b->store, new, RECORD_FETCHED, NULL, &error), 0);
    assert_candidate(b, NULL);
    assert_int_equal(store_pin(b->store, new, &error), 0);
    assert_candidate(b, new);
    assert_int_equal(store_pin(b->store, NULL, &error), 0);
    /* A clock was a day ahead when what is in use was made: it does not shut out all that comes. */
    dated(b, in_use, now + 86400);
    assert_candidate(b, new);
}

static struct record
record_of(struct bench *b, const char *name)
{
    g_autofree char *error = NULL;
    g_autoptr(store_entry_t) entry = store_find(b->store, name, &error);
    struct record record = entry->record;
    record.reason = NULL;
    return record;
}

static void
test_tried(void **data)
{
    struct bench *b = *data;
    const struct record_trial measured = {12, 34, 56, 78};
    g_autofree char *error = NULL;
    g_autofree char *name = made(b, "one");
    assert_int_equal(store_tried(b->store, name, &measured, &error), -EINVAL);
    g_clear_pointer(&error, g_free);
    assert_int_equal(store_set(b->store, name, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_tried(b->store, name, &measured, &error), 0);
    struct record record = record_of(b, name);
    assert_int_equal(record.state, RECORD_TRIED);
    assert_memory_equal(&record.trial, &measured, sizeof measured);
    assert_int_equal(store_adopt(b->store, name, FALSE, &error), 0);
    record = record_of(b, name);
    assert_memory_equal(&record.trial, &measured, sizeof measured);
}

/* No memory is no fault of the signatures, however often. */
static void
test_what_counts(void **data)
{
    struct bench *b = *data;
    g_autofree char *error = NULL;
    g_autofree char *name = made(b, "one");
    for (unsigned i = 0; i < 2 * RECORD_TRIALS_MAX; i++) {
        assert_int_equal(store_set(b->store, name, RECORD_TRYING, NULL, &error), 0);
        assert_int_equal(store_set(b->store, name, RECORD_FETCHED, "no memory", &error), 0);
    }
    assert_int_equal(record_of(b, name).trials, 0);
    assert_int_equal(store_set(b->store, name, RECORD_TRYING, NULL, &error), 0);
    assert_int_equal(store_recover(b->store, &error), 0);
    assert_int_equal(state_of(b, name), RECORD_FETCHED);
    assert_int_equal(record_of(b, name).trials, 1);
    /* Once it was rejected, an administrator's word gives it all its chances again. */
    assert_int_equal(store_set(b->store, name, RECORD_REJECTED, "bad", &error), 0);
    assert_int_equal(store_set(b->store, name, RECORD_FETCHED, NULL, &error), 0);
    assert_int_equal(record_of(b, name).trials, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_way),
        T(test_previous),
        T(test_pinned),
        T(test_recover),
        T(test_prune),
        T(test_prune_what_waits),
        T(test_verify),
        T(test_busy),
        T(test_take),
        T(test_hostile_offer),
        T(test_foreign_file),
        T(test_candidate),
        T(test_tried),
        T(test_what_counts),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_cvd_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

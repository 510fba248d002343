/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that changes the store is killed before each of its changes to the disk, one after the
 * other. What is left is a store with one whole generation in use, and the next process goes on.
 *
 * The calls that change something are replaced here: the linker takes these before libc's.
 */
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "draft.h"
#include "signature-files.h"
#include "store.h"
#include "test-tree.h"

#define LIMIT 65536
#define KILLED 99
/* More calls than the story has. */
#define CALLS_MAX 400

static int calls_left; /* 0: nobody is killed */

static void
count_down(void)
{
    if (calls_left > 0 && --calls_left == 0) {
        _exit(KILLED);
    }
}

int
renameat(int from, const char *old, int to, const char *new)
{
    count_down();
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int
renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    count_down();
    return (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int
symlinkat(const char *target, int dir, const char *name)
{
    count_down();
    return (int)syscall(SYS_symlinkat, target, dir, name);
}

int
unlinkat(int dir, const char *name, int flags)
{
    count_down();
    return (int)syscall(SYS_unlinkat, dir, name, flags);
}

int
mkdirat(int dir, const char *name, mode_t mode)
{
    count_down();
    return (int)syscall(SYS_mkdirat, dir, name, mode);
}

/* A process is killed here, not the power cut. */
int
fsync(int fd)
{
    count_down();
    return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

ssize_t
write(int fd, const void *data, size_t len)
{
    count_down();
    return syscall(SYS_write, fd, data, len);
}

static void
put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Makes an offer of TEXT in DIR/update/offer, as postern-update does. */
static int
offer(const char *dir, const char *text)
{
    g_autoptr(draft_t) draft = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(dir, "fetched.ndb", NULL);
    g_autofree char *update = g_build_filename(dir, "update", NULL);
    put(path, text);
    int fd = open(path, O_RDONLY);
    int base = open(update, O_RDONLY | O_DIRECTORY);
    int rc = draft_begin(base, LIMIT, &draft, &error);
    if (rc == 0) {
        rc = draft_add(draft, "fetched.ndb", fd, "here", NULL, &error);
    }
    if (rc == 0) {
        rc = draft_finish(draft, "offer", NULL, &error);
    }
    close(fd);
    close(base);
    return rc;
}

/* Takes what is offered, tries and adopts it, and removes what is too much. */
static int
adopt(const char *dir)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(dir, "update", "offer", NULL);
    g_autofree char *signatures = g_build_filename(dir, "signatures", NULL);
    struct store_new new;
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    int rc = store_open(signatures, TRUE, &store, &error);
    if (rc == 0) {
        rc = store_recover(store, &error);
    }
    if (rc == 0) {
        rc = store_take(store, fd, LIMIT, &new, &error);
    }
    close(fd);
    g_autoptr(store_entry_t) entry = rc < 0 ? NULL : store_find(store, new.name, &error);
    if (entry != NULL && entry->record.state == RECORD_FETCHED) {
        rc = store_set(store, new.name, RECORD_TRYING, NULL, &error);
        rc = rc == 0 ? store_set(store, new.name, RECORD_TRIED, NULL, &error) : rc;
    }
    rc = rc == 0 ? store_adopt(store, new.name, FALSE, &error) : rc;
    rc = rc == 0 ? store_pin(store, new.name, &error) : rc;
    rc = rc == 0 ? store_pin(store, NULL, &error) : rc;
    return rc == 0 ? MIN(store_prune(store, 1, &error), 0) : rc;
}

/* What a reader finds at this moment, before anybody cleared up. */
static void
check_store(const char *dir)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *error = NULL;
    g_autofree char *signatures = g_build_filename(dir, "signatures", NULL);
    assert_int_equal(store_open(signatures, FALSE, &store, &error), 0);
    g_autoptr(GPtrArray) list = store_list(store);
    guint current = 0;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        assert_null(entry->damage);
        current += entry->is_current ? 1 : 0;
        if (entry->manifest != NULL) {
            assert_int_equal(store_verify(store, entry->name, &error), 0);
        } else {
            assert_false(entry->is_current);
        }
    }
    assert_int_equal(current, 1);
}

/* The offer is the old one or the new one, never half. */
static void
check_offer(const char *dir)
{
    g_autofree char *error = NULL;
    g_autofree char *sum = NULL;
    g_autofree char *text = NULL;
    g_autofree char *path = g_build_filename(dir, "update", "offer", NULL);
    g_autofree char *file = g_build_filename(path, "fetched.ndb", NULL);
    g_autoptr(manifest_t) manifest = NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(manifest_read(fd, &manifest, &error), 0);
    close(fd);
    assert_true(g_file_get_contents(file, &text, NULL, NULL));
    sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    assert_string_equal(manifest_find(manifest, "fetched.ndb")->sha256, sum);
}

static char *
begin(void)
{
    char *dir = g_dir_make_tmp("postern-crash-XXXXXX", NULL);
    g_autofree char *update = g_build_filename(dir, "update", NULL);
    assert_int_equal(mkdir(update, 0755), 0);
    assert_int_equal(offer(dir, "old"), 0);
    assert_int_equal(adopt(dir), 0);
    assert_int_equal(offer(dir, "older"), 0);
    assert_int_equal(adopt(dir), 0);
    return dir;
}

/* Returns TRUE when the child was killed. */
static gboolean
killed_at(int call, const char *dir)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        calls_left = call;
        int rc = offer(dir, "new");
        rc = rc == 0 ? adopt(dir) : rc;
        _exit(rc == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED);
    return WEXITSTATUS(status) == KILLED;
}

static void
test_killed_anywhere(void **data)
{
    int call = 1;
    (void)data;
    for (gboolean killed = TRUE; killed; call++) {
        g_autofree char *dir = begin();
        killed = killed_at(call, dir);
        check_offer(dir);
        check_store(dir);
        assert_int_equal(offer(dir, "new"), 0);
        assert_int_equal(adopt(dir), 0);
        check_offer(dir);
        check_store(dir);
        test_tree_remove(dir);
        assert_true(call < CALLS_MAX);
    }
    assert_true(call > 30); /* there was something to kill it at */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

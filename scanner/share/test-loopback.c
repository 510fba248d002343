/* SPDX-License-Identifier: GPL-2.0-only */
#include "test-loopback.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "test-tree.h"

void
bench_put(const struct bench *bench, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(bench->dir, name, NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    assert_int_equal(chmod(path, 0600), 0);
}

void
bench_settings(struct bench *bench, const char *more)
{
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(bench->dir, "postern.conf", NULL);
    g_autofree char *text = g_strdup_printf(
        "signatures_dir = \"%s/signatures\"\nengine_dir = \"%s/engine\"\nshare_dir = \"%s/share\"\n"
        "share_peers = \"%s/peers.json\"\nshare_interval = 30\nupdate_patience = 1000\n"
        "update_alone = 600\n%s",
        bench->dir, bench->dir, bench->dir, bench->dir, more);
    bench_put(bench, "postern.conf", text);
    settings_free(bench->settings);
    bench->settings = settings_load(path, &error);
    assert_null(error);
    assert_non_null(bench->settings);
}

int
bench_setup(void **state)
{
    static char addresses[][9] = {"10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.3"};
    char *const one[] = {addresses[0], addresses[1], NULL};
    char *const two[] = {addresses[2], NULL};
    char *const three[] = {addresses[3], NULL};
    struct bench *bench = g_new0(struct bench, 1);
    bench->dir = g_dir_make_tmp("test-share-XXXXXX", NULL);
    static const char *const dirs[] = {"signatures", "engine", "share", "share/state"};
    for (size_t i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *path = g_build_filename(bench->dir, dirs[i], NULL);
        assert_int_equal(g_mkdir(path, 0755), 0);
    }
    bench_settings(bench, "");
    bench->peers = peers_new("n1");
    assert_int_equal(peers_add(bench->peers, "n1", one), 0);
    assert_int_equal(peers_add(bench->peers, "n2", two), 0);
    assert_int_equal(peers_add(bench->peers, "n3", three), 0);
    *state = bench;
    return 0;
}

int
bench_teardown(void **state)
{
    struct bench *bench = *state;
    test_tree_remove(bench->dir);
    settings_free(bench->settings);
    peers_free(bench->peers);
    g_free(bench->dir);
    g_free(bench);
    return 0;
}

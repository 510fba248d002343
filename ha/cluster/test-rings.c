/* SPDX-License-Identifier: GPL-2.0-only */
/* Which addresses the nodes have, of what corosync-cmapctl and crm_node print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "rings.h"

static const char cmap[] = "nodelist.local_node_pos (u32) = 0\n"
                           "nodelist.node.0.name (str) = alpha\n"
                           "nodelist.node.0.nodeid (u32) = 7\n"
                           "nodelist.node.0.ring0_addr (str) = 10.0.0.7\n"
                           "nodelist.node.0.ring1_addr (str) = fd00::7\n"
                           "nodelist.node.1.nodeid (u32) = 1\n"
                           "nodelist.node.1.ring0_addr (str) = beta.example\n"
                           "nodelist.node.2.nodeid (u32) = 9\n"
                           "nodelist.node.2.ring0_addr (str) = 10.0.0.9\n";
/* Of node 9 Pacemaker knows nothing yet. */
static const char names[] = "1 beta member\n7 alpha lost\n\n";

static char *
resolve(const char *name)
{
    return strcmp(name, "beta.example") == 0 ? g_strdup("10.0.0.1") : NULL;
}

static void
test_nodes(void **state)
{
    g_autofree char *error = NULL;
    (void)state;
    g_autoptr(GPtrArray) nodes = rings_parse(cmap, names, resolve, &error);
    assert_null(error);
    assert_int_equal(nodes->len, 2);
    const struct ring_node *alpha = g_ptr_array_index(nodes, 0);
    const struct ring_node *beta = g_ptr_array_index(nodes, 1);
    assert_string_equal(alpha->name, "alpha");
    assert_string_equal(alpha->addresses[0], "10.0.0.7");
    assert_string_equal(alpha->addresses[1], "fd00::7");
    assert_null(alpha->addresses[2]);
    assert_string_equal(beta->name, "beta");
    assert_string_equal(beta->addresses[0], "10.0.0.1");
}

static void
test_faults(void **state)
{
    static const struct {
        const char *cmap;
        const char *names;
        const char *why;
    } rows[] = {
        {"", names, "no nodelist"},
        {cmap, "", "no nodelist"},
        {"garbage\nnodelist.node.0 = x\nnodelist.node.0.nodeid\n", names, "no nodelist"},
        {"nodelist.node.0.nodeid (u32) = 7\n", names, "no address of alpha"},
        {"nodelist.node.0.nodeid (u32) = 7\nnodelist.node.0.ring0_addr (str) = a\x1b.example\n",
         names, "a\\x1b.example in corosync's nodelist has no address"},
        {"nodelist.node.0.nodeid (u32) = 7\nnodelist.node.0.ring9_addr (str) = 10.0.0.1\n", names,
         "no address of alpha"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *error = NULL;
        assert_null(rings_parse(rows[i].cmap, rows[i].names, resolve, &error));
        assert_non_null(strstr(error, rows[i].why));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

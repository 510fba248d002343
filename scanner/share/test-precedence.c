/* SPDX-License-Identifier: GPL-2.0-only */
/* Who goes first. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "precedence.h"
#include "test-loopback.h"

struct node {
    const char *name;
    gint64 silent;
    const char *state; /* of NAME there; NULL: it knows of another */
    const char *engine;
    const char *adopted;
    const char *confirmed;
    const char *pinned;
};

static json_t *
node_json(const struct node *node)
{
    return json_pack("{s:s, s:I, s:s?, s:s?, s:{s:s, s:s?, s:{s:s, s:s, s:s}}}", "name", node->name,
                     "silent", (json_int_t)node->silent, "adopted", node->adopted, "confirmed",
                     node->confirmed, "state", "engine",
                     node->engine != NULL ? node->engine : "ready", "pinned", node->pinned, "given",
                     "name", node->state != NULL ? NAME : OTHER, "state",
                     node->state != NULL ? node->state : "rejected", "reason", "it crashed");
}

#define SILENT 100000
#define GO PRECEDENCE_GO
#define WAIT PRECEDENCE_WAIT
#define REFUSED PRECEDENCE_REFUSED

/* Of what is given for so long, by one that gives for an hour. */
static const struct {
    const char *what;
    struct node nodes[2];
    gint64 given;
    enum precedence answer;
    const char *why;
} precedence_rows[] = {
    {"nobody yet", {{NULL, 0, NULL, NULL, NULL, NULL, NULL}}, 10, WAIT, "no other node"},
    {"nobody for long", {{NULL, 0, NULL, NULL, NULL, NULL, NULL}}, 600, GO, NULL},
    {"both away",
     {{"n2", SILENT, "fetched", NULL, NULL, NULL, NULL},
      {"n3", SILENT, NULL, NULL, NULL, NULL, NULL}},
     10,
     WAIT,
     "no other node"},
    {"both away, long",
     {{"n2", SILENT, "fetched", NULL, NULL, NULL, NULL},
      {"n3", SILENT, NULL, NULL, NULL, NULL, NULL}},
     600,
     GO,
     NULL},
    {"not there yet",
     {{"n2", 1, "none", NULL, NULL, NULL, NULL}},
     10,
     WAIT,
     "n2 goes first: there it is not known"},
    {"fetched",
     {{"n2", 1, "fetched", NULL, NULL, NULL, NULL}},
     999,
     WAIT,
     "n2 goes first: there it is fetched"},
    {"fetched, out of patience", {{"n2", 1, "fetched", NULL, NULL, NULL, NULL}}, 1000, GO, NULL},
    {"tried, no memory to adopt", {{"n2", 1, "tried", NULL, NULL, NULL, NULL}}, 1000, GO, NULL},
    {"knows another one", {{"n2", 1, NULL, NULL, NULL, NULL, NULL}}, 10, WAIT, "n2 goes first"},
    {"being tried", {{"n2", 1, "trying", NULL, NULL, NULL, NULL}}, 7199, WAIT, "in the middle"},
    {"being tried for ever", {{"n2", 1, "trying", NULL, NULL, NULL, NULL}}, 7200, GO, NULL},
    {"just adopted",
     {{"n2", 1, "adopted", "ready", NAME, NULL, NULL}},
     7199,
     WAIT,
     "in the middle"},
    {"died of it", {{"n2", 1, "adopted", "failed", NULL, NULL, NULL}}, 7199, WAIT, "in the middle"},
    {"went back by hand", {{"n2", 1, "adopted", "ready", OTHER, OTHER, NULL}}, 1000, GO, NULL},
    {"works", {{"n2", 1, "adopted", "ready", NAME, NAME, NULL}}, 10, GO, NULL},
    {"worked, and went", {{"n2", SILENT, "adopted", "ready", NAME, NAME, NULL}}, 10, GO, NULL},
    {"one works, one waits",
     {{"n2", 1, "adopted", "ready", NAME, NAME, NULL},
      {"n3", 1, "fetched", NULL, NULL, NULL, NULL}},
     999,
     WAIT,
     "n3 goes first"},
    {"one works, one is away",
     {{"n2", 1, "adopted", "ready", NAME, NAME, NULL},
      {"n3", SILENT, "fetched", NULL, NULL, NULL, NULL}},
     10,
     GO,
     NULL},
    {"lost while it tried",
     {{"n2", SILENT, "trying", NULL, NULL, NULL, NULL}},
     SILENT,
     WAIT,
     "not been heard of"},
    {"lost before it adopted",
     {{"n2", SILENT, "tried", NULL, NULL, NULL, NULL}},
     SILENT,
     WAIT,
     "not been heard of"},
    {"lost with it",
     {{"n2", SILENT, "adopted", "ready", NAME, NULL, NULL},
      {"n3", 1, "adopted", "ready", NAME, NAME, NULL}},
     SILENT,
     WAIT,
     "n2 began with it"},
    {"stopped in good order", {{"n2", SILENT, "tried", "none", NULL, NULL, NULL}}, 600, GO, NULL},
    {"stopped while it had just adopted",
     {{"n2", SILENT, "adopted", "none", NULL, NULL, NULL}},
     600,
     GO,
     NULL},
    {"stopped, and still there",
     {{"n2", 1, "trying", "none", NULL, NULL, NULL}},
     10,
     WAIT,
     "n2 goes first"},
    {"rejected",
     {{"n2", SILENT, "rejected", NULL, NULL, NULL, NULL},
      {"n3", 1, "adopted", "ready", NAME, NAME, NULL}},
     999,
     REFUSED,
     "n2 rejected it: it crashed; this node waits for a newer one, and decides for itself when "
     "none came in 4000 s (four times update_patience at first)"},
    {"rejected long ago", {{"n2", 1, "rejected", NULL, NULL, NULL, NULL}}, 4000, GO, NULL},
    {"pinned to another", {{"n2", 1, "fetched", "ready", NULL, NULL, OTHER}}, 600, GO, NULL},
    {"pinned to it", {{"n2", 1, "fetched", "ready", NULL, NULL, NAME}}, 600, WAIT, "n2 goes"},
};

static void
test_precedence(void **state)
{
    const struct bench *bench = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(precedence_rows); i++) {
        g_autofree char *why = NULL;
        json_t *nodes = json_array();
        for (size_t n = 0; n < 2 && precedence_rows[i].nodes[n].name != NULL; n++) {
            json_array_append_new(nodes, node_json(&precedence_rows[i].nodes[n]));
        }
        gint64 at = 10 * SILENT;
        json_t *status = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o}", "role", "gives", "gives", NAME,
                                   "given", (json_int_t)(at - precedence_rows[i].given), "since",
                                   (json_int_t)0, "at", (json_int_t)at, "nodes", nodes);
        enum precedence answer = precedence_judge(bench->settings, status, TRUE, NAME, 0, &why);
        json_decref(status);
        if (answer != precedence_rows[i].answer ||
            (precedence_rows[i].why != NULL &&
             (why == NULL || strstr(why, precedence_rows[i].why) == NULL))) {
            fail_msg("%s: %d, %s", precedence_rows[i].what, (int)answer, why);
        }
    }
}

/* What may take a machine down is not tried on the active one, however long that was ago. */
static void
test_precedence_interrupted(void **state)
{
    const struct bench *bench = *state;
    const struct node node = {"n2", 1, "rejected", NULL, NULL, NULL, NULL};
    for (int i = 0; i < 2; i++) {
        g_autofree char *why = NULL;
        json_t *status = json_pack("{s:s, s:s, s:I, s:I, s:I, s:[o]}", "role", "gives", "gives",
                                   NAME, "given", (json_int_t)0, "since", (json_int_t)0, "at",
                                   (json_int_t)(10 * SILENT), "nodes", node_json(&node));
        json_t *given = json_object_get(
            json_object_get(json_array_get(json_object_get(status, "nodes"), 0), "state"), "given");
        json_object_set_new(given, "interrupted", json_boolean(i == 1));
        assert_int_equal(precedence_judge(bench->settings, status, TRUE, NAME, 0, &why),
                         i == 1 ? REFUSED : GO);
        json_decref(status);
    }
}

/* Of what is given for so long, where one after the other has been held up. */
static void
test_precedence_one_after_the_other(void **state)
{
    const struct bench *bench = *state;
    static const struct {
        const char *word;
        gint64 given;
        gint64 held;
        enum precedence answer;
    } rows[] = {
        {"rejected", 3999, 3999, REFUSED}, {"rejected", 1999, 4000, REFUSED},
        {"rejected", 2000, 4000, GO},      {"rejected", 61, SILENT, REFUSED},
        {"rejected", 62, SILENT, GO},      {"fetched", 999, 999, WAIT},
        {"fetched", 499, 1000, WAIT},      {"fetched", 500, 1000, GO},
        {"fetched", 61, SILENT, WAIT},     {"fetched", 62, SILENT, GO},
        {"trying", 62, 7199, WAIT},        {"trying", 62, SILENT, GO},
        {"trying", 61, SILENT, WAIT},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *why = NULL;
        const struct node node = {"n2", 1, rows[i].word, NULL, NULL, NULL, NULL};
        gint64 at = 10 * SILENT;
        json_t *status = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:[o]}", "role", "gives",
                                   "gives", NAME, "given", (json_int_t)(at - rows[i].given), "held",
                                   (json_int_t)(at - rows[i].held), "since", (json_int_t)0, "at",
                                   (json_int_t)at, "nodes", node_json(&node));
        assert_int_equal(precedence_judge(bench->settings, status, TRUE, NAME, 0, &why),
                         rows[i].answer);
        json_decref(status);
    }
}

/* When little is known. */
static void
test_precedence_unknown(void **state)
{
    const struct bench *bench = *state;
    static const struct {
        const char *role;
        const char *gives;
        gint64 since; /* before now */
        gboolean is_fresh;
        gint64 waited;
        enum precedence answer;
    } rows[] = {
        {"gives", NAME, 5000, TRUE, 0, GO},      {"gives", NAME, 100, TRUE, 0, WAIT},
        {"gives", OTHER, 5000, TRUE, 0, WAIT},   {"gives", NULL, 5000, TRUE, 0, WAIT},
        {"takes", NAME, 5000, TRUE, 0, WAIT},    {"gives", NAME, 5000, FALSE, 999, WAIT},
        {"gives", NAME, 5000, FALSE, 1000, GO},  {"takes", NAME, 5000, TRUE, 1000, GO},
        {"gives", NAME, 5000, FALSE, -90, WAIT},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *why = NULL;
        json_t *status =
            json_pack("{s:s, s:s?, s:I, s:I, s:I, s:[]}", "role", rows[i].role, "gives",
                      rows[i].gives, "given", (json_int_t)(SILENT - 5000), "since",
                      (json_int_t)(SILENT - rows[i].since), "at", (json_int_t)SILENT, "nodes");
        assert_int_equal(
            precedence_judge(bench->settings, status, rows[i].is_fresh, NAME, rows[i].waited, &why),
            rows[i].answer);
        assert_true((why == NULL) == (rows[i].answer == GO));
        json_decref(status);
    }
    g_autofree char *why = NULL;
    assert_int_equal(precedence_judge(bench->settings, NULL, FALSE, NAME, 0, &why), WAIT);
}

static void
test_precedence_of_this_node(void **state)
{
    struct bench *bench = *state;
    g_autofree char *role = g_build_filename(bench->dir, "role", NULL);
    g_autofree char *current = g_build_filename(bench->dir, "signatures/current", NULL);
    g_autofree char *text = peers_text(bench->peers);
    static const struct {
        const char *role;
        gboolean is_active;
    } roles[] = {{"[a]\nstage=standby\n", FALSE},
                 {"[a]\nstage=leaving\n", FALSE},
                 {"[a]\nstage=serving\n", TRUE},
                 {"[a]\nstage=standby\n[b]\nstage=taking\n", TRUE},
                 {"garbage", FALSE},
                 {"[a]\n", FALSE}};
    g_autofree char *why = NULL;
    assert_false(precedence_is_active(role));
    for (size_t i = 0; i < G_N_ELEMENTS(roles); i++) {
        bench_put(bench, "role", roles[i].role);
        assert_int_equal(precedence_is_active(role), roles[i].is_active);
    }
    bench_put(bench, "role", "[a]\nstage=serving\n");
    assert_int_equal(precedence_of(bench->settings, NAME, role, &why), GO); /* no peers */
    bench_put(bench, "peers.json", text);
    assert_int_equal(precedence_of(bench->settings, NAME, role, &why), GO); /* nothing in use */
    assert_int_equal(symlink(".", current), 0);
    assert_int_equal(precedence_of(bench->settings, NAME, role, &why), WAIT);
    assert_true(precedence_may_fetch(bench->settings, role));
    bench_put(bench, "role", "[a]\nstage=standby\n");
    g_clear_pointer(&why, g_free);
    assert_int_equal(precedence_of(bench->settings, NAME, role, &why), GO);
    assert_false(precedence_may_fetch(bench->settings, role));
    bench_settings(bench, "update_on = \"every node\"\n");
    assert_true(precedence_may_fetch(bench->settings, role));
    bench_put(bench, "role", "[a]\nstage=serving\n");
    assert_int_equal(precedence_of(bench->settings, NAME, role, &why), GO);
    assert_null(why);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_precedence, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_precedence_interrupted, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_precedence_one_after_the_other, bench_setup,
                                        bench_teardown),
        cmocka_unit_test_setup_teardown(test_precedence_unknown, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_precedence_of_this_node, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
